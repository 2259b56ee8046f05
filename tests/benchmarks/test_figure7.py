"""The paper's Figure 7: which images, and what its caption claims."""

import numpy as np
import pytest

from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import classifier, explain
from efficientnet_tf.models import builder, registry
from efficientnet_tf.utils import files

SIZE = 32
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def figure7(load_benchmark):
    return load_benchmark("figure7")


@pytest.fixture(scope="module")
def small(tiny_row):
    network = builder.build(tiny_row, classes=3, input_shape=(SIZE, SIZE, 3))
    return classifier.Classifier(network, NAMES, SIZE, "bilinear", 4)


def _column(figure7, small, **scale):
    variant = registry.get_variant("efficientnet_b0", **scale)
    return figure7.Column("x", "top-1 unknown", small, variant)


SCALES = (
    {},
    {"depth": 4.0},
    {"width": 2.0},
    {"resolution": 448},
    {"depth": 1.4, "width": 1.2, "resolution": 288},
)


def test_only_the_papers_five_networks_are_called_the_papers(figure7, small):
    columns = [_column(figure7, small, **scale) for scale in SCALES]
    assert figure7.is_paper(columns) and figure7.is_paper(columns[::-1])
    others = (
        columns[:4],
        [*columns, columns[0]],
        [*columns[:4], _column(figure7, small, depth=1.4, width=1.2)],
        [
            *columns[1:],
            _column(
                figure7,
                small,
                stages=registry.get_variant("efficientnet_lite0").stages,
            ),
        ],
        [*columns[1:], figure7.Column("x", "", small, None)],
    )
    for other in others:
        assert not figure7.is_paper(other)


def test_images_are_random_of_different_classes_and_keep_their_labels(figure7):
    labels = np.arange(30) % 3
    images = np.zeros((30, 8, 8, 3), "uint8")
    images[:, 0, 0, 0] = np.arange(30)
    examples = sources.from_arrays(images, labels, NAMES)
    chosen = [figure7.pick_images(examples, 9, seed) for seed in range(3)]
    for rows in chosen:
        assert sorted(label for _, label in rows) == [0, 1, 2]
        for pixels, label in rows:
            assert pixels[0, 0, 0] % 3 == label
    numbers = [sorted(int(p[0, 0, 0]) for p, _ in rows) for rows in chosen]
    assert len(set(map(tuple, numbers))) == 3
    assert len(figure7.pick_images(examples, 2, 0)) == 2


def test_a_cell_has_the_map_of_the_true_class_and_names_the_mistake(
    figure7, small
):
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), "uint8")
    # The data's classes in another order than the model's.
    examples = sources.from_arrays(images, np.arange(3), ("c", "a", "b"))
    rows = figure7.pick_images(examples, 3, 0)
    column = figure7.Column("x", "", small, None)
    cells = figure7.explain_images(column, examples, rows)
    assert [cell.label for cell in cells] == ["c", "a", "b"]
    prepared = np.stack([small.preprocess(pixels) for pixels, _ in rows])
    found = explain.class_activation_map(small, prepared, [2, 0, 1])
    best = found.probabilities.argmax(-1)
    for i, (cell, true) in enumerate(zip(cells, [2, 0, 1], strict=True)):
        share = f"{found.probabilities[i, true]:.0%}"
        if best[i] != true:
            highest = found.probabilities[i].max()
            share += f", but {NAMES[best[i]]} {highest:.0%}"
        assert cell.title == share
        assert cell.picture.shape == cell.overlay.shape
    picture = figure7.draw([cells, cells], ["c", "a", "b"], [["", "x", "y"]])
    longer = figure7.add_caption(picture, "word " * 40)
    np.testing.assert_array_equal(longer[: len(picture)], picture)
    assert (longer[len(picture) :] < 100).any()


def test_a_run_says_its_name_accuracy_and_scaling(figure7, small, tmp_path):
    folder = tmp_path / "wider"
    small.save(folder)
    files.write_json(folder / "config.json", {"model": "efficientnet_b0"})
    named = figure7._open_run(f"wide={folder}")
    assert (named.name, named.accuracy) == ("wide", "top-1 unknown")
    assert named.scaling == "d=1 w=1 32 px"
    files.append_json_line(folder / "results.jsonl", {"top1": 0.5})
    assert figure7._open_run(str(folder)).accuracy == "top-1 50.0%"
    assert figure7._open_run(f"{folder}/").name == "wider"
    files.write_json(folder / "config.json", {})
    assert figure7._open_run(str(folder)).scaling == "scaling unknown"
