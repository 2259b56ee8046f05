import types

import numpy as np
import pytest

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def targets(load_benchmark):
    return load_benchmark("targets")


def _replace_load(monkeypatch, rows, names=()):
    label = types.SimpleNamespace(names=names)
    about = types.SimpleNamespace(features={"coarse_label": label})

    def load(name, with_info=False, **_):
        return (rows, about) if with_info else rows

    monkeypatch.setattr(tfds, "load", load)
    monkeypatch.setattr(tfds, "as_numpy", lambda rows: rows)


def test_a_mosaic_has_the_labels_of_its_four_images(targets, monkeypatch):
    rows = [
        {
            "image": np.full((32, 32, 3), i, np.uint8),
            "coarse_label": i % 3,
        }
        for i in range(9)
    ]
    _replace_load(monkeypatch, rows, ("a", "b", "c"))
    monkeypatch.setattr(targets, "DATA_DIR", types.SimpleNamespace(value=None))
    made = list(targets.make_mosaics("train"))
    used = [image[::32, ::32, 0].ravel().tolist() for image, _ in made]
    assert len({i for four in used for i in four}) == 8 and len(made) == 2
    for four, (_, labels) in zip(used, made, strict=True):
        assert labels == "|".join(sorted({"abc"[i % 3] for i in four}))


def test_a_turned_photograph_is_turned_by_its_number(targets, monkeypatch):
    """Of a photograph with one edge across it, which is then found again."""
    photo = np.zeros((100, 140, 3), np.uint8) + 60
    photo[:50] += 140
    _replace_load(monkeypatch, [{"image": photo}] * 20)
    monkeypatch.setattr(targets, "DATA_DIR", types.SimpleNamespace(value=None))
    for image, degrees in targets.make_turned("train"):
        assert image.min() > 30  # No corner, which would be black.
        bright = (image[..., 0] > 130).sum(axis=0)
        inner = bright[(bright > 1) & (bright < 63)]
        slope = np.polyfit(np.arange(len(inner)), inner, 1)[0]
        assert abs(np.degrees(np.arctan(slope))) == pytest.approx(
            degrees, abs=1.5
        )
