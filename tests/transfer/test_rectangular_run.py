"""A run on letterboxed rectangles, by what is done with a run afterwards."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import hub_server
import samples
from efficientnet_tf.commands import described, held_out
from efficientnet_tf.deploy import repository, runtimes
from efficientnet_tf.inference import classifier, pooled
from efficientnet_tf.models import builder, variants
from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import downloads, hub, loading
from transfer import finetune, finished, neighbors
from transfer.config import recipes

HEIGHT, WIDTH = 32, 56
NAME = "anna/wide"


@pytest.fixture(scope="module", autouse=True)
def tiny(tiny_row):
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(variants.VARIANTS, "tiny", tiny_row)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Tall images of two classes, in which a square would cut off most."""
    root = samples.make_folder(
        tmp_path_factory.mktemp("photos"), {"a": 30, "b": 30}, 24
    )
    for path in root.rglob("*.png"):
        Image.open(path).crop((0, 0, 10, 24)).save(path)
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory, tiny_row):
    place = tmp_path_factory.mktemp("run")
    weights = place / "tiny.weights.h5"
    loading.save(builder.build(tiny_row, classes=2), weights)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(cache_folder.CACHE_VARIABLE, str(place / "cache"))
        row = finetune.finetune_and_evaluate(
            f"folder:{photos}",
            "tiny",
            weights=str(weights),
            config=recipes.get_recipe(
                "linear",
                [
                    f"image_size={HEIGHT}x{WIDTH}",
                    "resize=letterbox",
                    "interpolation=bilinear",
                    "l2_sweep=0.1",
                ],
            ),
            workdir=place / "run",
        )
    assert (row["resolution"], row["width"]) == (HEIGHT, WIDTH)
    return place / "run"


def prepare_by_hand(path):
    """Returns what the network is to get: 10 x 24 pixels, 32 high, in grey."""
    columns = round(10 * HEIGHT / 24)
    left = (WIDTH - columns) // 2
    canvas = np.full((HEIGHT, WIDTH, 3), 114, "float32")
    canvas[:, left : left + columns] = tf.image.resize(
        np.asarray(Image.open(path), "float32"), (HEIGHT, columns)
    )
    return canvas


@pytest.fixture(scope="module")
def expected(run, photos):
    """(paths, the outputs of the images prepared by hand)."""
    found = classifier.from_run(run)
    paths = [photos / "a" / "003.png", photos / "b" / "004.png"]
    images = np.stack([prepare_by_hand(path) for path in paths])
    return paths, pooled.Pooled(found.model)(images)


def test_embed_gives_the_features_of_the_letterbox(run, expected):
    paths, outputs = expected
    found = classifier.from_run(run)
    each = [output for _, output in found.embed_each(paths)]
    for name in ("features", "probabilities"):
        np.testing.assert_allclose(
            [getattr(output, name) for output in each],
            getattr(outputs, name),
            atol=1e-4,
        )


def test_the_nearest_of_a_training_image_is_the_image_itself(
    run, tmp_path, monkeypatch
):
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path))
    found = classifier.from_run(run)
    config, loaded = held_out.load_run(str(run), None)
    trained = finished.embed_trained(run, config, loaded, found)
    index = neighbors.Index(trained, found.class_names)
    names = trained.names[:3]
    for name, (_, output) in zip(
        names,
        found.embed_each(names),
        strict=True,
    ):
        first, *others = index.find(output.features, 5)
        assert first.image == name
        assert first.similarity == pytest.approx(1, abs=1e-4)
        own = pathlib.Path(name).parent.name
        assert {each.class_name for each in (first, *others)} == {own}
    pixels = index.read_pixels([0], "used")[0]
    assert pixels.shape == (24, 10, 3)


def test_what_is_of_no_class_is_told_by_the_letterbox(run, expected, tmp_path):
    paths, outputs = expected
    found = classifier.from_run(run)
    scores = found.unknown.score(outputs.features)
    shown = [
        found.unknown.describe(output.features, "x")
        for _, output in found.embed_each(paths)
    ]
    np.testing.assert_allclose(
        [each["unknown_score"] for each in shown], scores, atol=1e-4
    )
    # In a square of the whole image the letterbox is another image.
    wrong = np.stack(
        [
            tf.image.resize(np.asarray(Image.open(p)), (HEIGHT, WIDTH))
            for p in paths
        ]
    )
    squashed = pooled.Pooled(found.model)(wrong).features
    assert np.abs(found.unknown.score(squashed) - scores).max() > 1e-3


def test_what_is_shared_answers_as_the_run_does(
    run, expected, tmp_path, monkeypatch
):
    paths, outputs = expected
    about = described.of_run(str(run), "apache-2.0", NAME)
    repository.write(tmp_path / "shared", run, about)
    card = (tmp_path / "shared" / "README.md").read_text()
    assert rf"\[N, {HEIGHT}, {WIDTH}, 3\]" in card and "letterbox" in card
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(downloads.MIRROR_VARIABLE, raising=False)
    with hub_server.running() as server:
        monkeypatch.setenv(hub.ENDPOINT_VARIABLE, server.url)
        there = server.repositories[NAME] = hub_server.Repository()
        there.commit(
            {p.name: p.read_bytes() for p in (tmp_path / "shared").iterdir()}
        )
        found = runtimes.load_classifier(f"hf://{NAME}")
    local = runtimes.load_classifier(tmp_path / "shared")
    own = classifier.from_run(run)
    for each in (found, local):
        assert each.preparation == own.preparation
        np.testing.assert_allclose(
            each.predict(paths), outputs.probabilities, atol=1e-4
        )
        # It tells unknown images as the run does.
        np.testing.assert_array_equal(each.unknown.means, own.unknown.means)
        assert each.unknown.threshold == own.unknown.threshold
