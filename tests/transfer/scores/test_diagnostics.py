import json

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data import datasets
from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import evaluate
from efficientnet_tf.models import builder
from transfer.scores import diagnostics

NAMES = ["a", "b", "c"]
# True classes are rows: 4, 5 and 1 images.
COUNTS = np.array([[2, 2, 0], [3, 1, 1], [0, 0, 1]])
CELLS = [[0, 0, 2], [0, 1, 2], [1, 0, 3], [1, 1, 1], [1, 2, 1], [2, 2, 1]]
ROW = {"class_names": NAMES, "confusion": CELLS}


def _scores(labels, predicted):
    """Returns the `Scores` of given predictions, in batches of four."""

    class Fixed:
        def predict_on_batch(self, images):
            return np.eye(3)[images]

    parts = range(0, len(labels), 4)
    batches = [(predicted[i : i + 4], labels[i : i + 4]) for i in parts]
    return evaluate.evaluate(Fixed(), batches)


def _run(folder):
    return {"folder": str(folder), "class_names": NAMES}


def _expand(cells):
    labels = np.repeat([c[0] for c in cells], [c[2] for c in cells])
    predicted = np.repeat([c[1] for c in cells], [c[2] for c in cells])
    order = np.random.default_rng(0).permutation(len(labels))
    return labels[order], predicted[order]


@pytest.fixture(scope="module")
def network():
    return builder.build("efficientnet_b0", classes=3, input_shape=(32, 32, 3))


def test_a_row_gets_counts_that_are_read_back(network, tmp_path):
    scores = _scores(*_expand(CELLS))
    row = diagnostics.collect(network, NAMES, scores, tmp_path / "none.jsonl")
    assert row["confusion"] == CELLS
    assert row["curves"] == {}
    assert json.loads(json.dumps(row)) == row
    np.testing.assert_array_equal(diagnostics.confusion([row]), COUNTS)
    diagnostics.check(row)


def test_parameters_are_without_the_classifier_even_if_frozen(
    network, tmp_path
):
    scores = _scores(*_expand(CELLS))
    try:
        network.trainable = False
        row = diagnostics.collect(
            network, NAMES, scores, tmp_path / "none.jsonl"
        )
    finally:
        network.trainable = True
    # keras.applications.EfficientNetB0(include_top=False): 4,049,571 with
    # 42,016 moving averages and the 7 of its Normalization.
    assert row["parameters"] == 4_049_571 - 42_016 - 7


def test_curves_have_each_epoch_once_and_what_the_run_recorded(
    network, tmp_path
):
    lines = [
        {"epoch": 1, "top1": 0.5, "loss": 2.0, "seconds": 9.0},
        {"epoch": 2, "top1": 0.6, "loss": 1.5, "seconds": 9.0},
        {"epoch": 2, "top1": 0.7, "loss": 1.0, "seconds": 9.0},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = _scores(*_expand(CELLS))
    curves = diagnostics.collect(network, NAMES, scores, path)["curves"]
    assert curves == {"epoch": [1, 2], "top1": [0.5, 0.7], "loss": [2.0, 1.0]}


def test_seeds_are_added_up_and_strangers_are_not():
    np.testing.assert_array_equal(diagnostics.confusion([ROW, ROW]), 2 * COUNTS)
    other = {**ROW, "class_names": ["a", "b", "d"]}
    assert diagnostics.confusion([ROW, other]) is None
    assert diagnostics.confusion([{}]) is None


def test_a_run_with_its_classes_in_another_order_is_added_by_name():
    # The same counts as those of ROW, with c first.
    order = [1, 2, 0]
    cells = [[order[i], order[j], images] for i, j, images in CELLS]
    turned = {"class_names": ["c", "a", "b"], "confusion": cells}
    counts = diagnostics.confusion([ROW, turned])
    np.testing.assert_array_equal(counts, 2 * COUNTS)


def test_mistakes_of_runs_with_other_orders_of_classes_are_found_by_name(
    tmp_path,
):
    one, two = tmp_path / "one", tmp_path / "two"
    labels, predicted = np.zeros(1, int), np.ones(1, int)
    scores = _scores(labels, predicted)
    diagnostics.save_mistakes([(1, 0)], scores, one, _image)
    diagnostics.save_mistakes([(2, 0)], scores, two, _image)
    runs = [_run(one), {**_run(two), "class_names": ["b", "a", "c"]}]
    (a_as_b,) = diagnostics.find_mistakes(runs, "a", "b")
    (b_as_a,) = diagnostics.find_mistakes(runs, "b", "a")
    assert (a_as_b.parts[-3], b_as_a.parts[-3]) == ("one", "two")


def test_the_worst_pairs_come_first_and_hits_never():
    assert diagnostics.worst_pairs(COUNTS, 9) == [(1, 0), (0, 1), (1, 2)]
    assert diagnostics.worst_pairs(COUNTS, 1) == [(1, 0)]
    assert diagnostics.worst_pairs(np.eye(3, dtype=int), 9) == []


BAD = {
    "class": ({**ROW, "confusion": [[0, 3, 1]]}, r"\[0, 3, 1\].*3 classes"),
    "sign": ({**ROW, "confusion": [[0, 1, -1]]}, r"\[0, 1, -1\]"),
    "short": ({**ROW, "confusion": [[0, 1]]}, r"holds \[0, 1\]"),
    "names": ({"confusion": CELLS}, "of 0 classes"),
    "length": ({"curves": {"epoch": [1], "top1": []}}, "top1 is not a number"),
    "text": ({"curves": {"epoch": ["1"]}}, "epoch is not a number"),
    "search": (
        {"search_curves": {"epoch": [1], "val_top1": ["x"]}},
        "search_curves: val_top1 is not a number",
    ),
    "axis": ({"curves": {"top1": [1]}}, "top1 is not a number for each"),
}


@pytest.mark.parametrize("row,message", BAD.values(), ids=BAD)
def test_what_cannot_be_drawn_is_named(row, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.check(row)


def _image(i):
    """A wide image whose colour encodes its number."""
    return np.full((100, 200, 3), 10 * i, np.uint8)


def test_mistaken_images_are_kept_small_under_their_pair(tmp_path):
    labels, predicted = _expand(CELLS)
    examples = [(i, label) for i, label in enumerate(labels)]
    scores = _scores(labels, predicted)
    np.testing.assert_array_equal(scores.predicted, predicted)
    diagnostics.save_mistakes(examples, scores, tmp_path, _image)
    for pair in [(0, 1), (1, 0), (1, 2)]:
        paths = diagnostics.find_mistakes(
            [_run(tmp_path)], *(NAMES[i] for i in pair)
        )
        images = [np.asarray(Image.open(path)) for path in paths]
        assert {image.shape for image in images} == {(48, 96, 3)}
        wrong = (labels == pair[0]) & (predicted == pair[1])
        colours = [int(image[0, 0, 0]) for image in images]
        assert colours == [10 * i for i in np.flatnonzero(wrong)]
    assert diagnostics.find_mistakes([_run(tmp_path)], "a", "c") == []
    assert len(list((tmp_path / "mistakes").iterdir())) == 6


def test_maps_are_kept_beside_the_image_that_they_are_of(tmp_path):
    labels, predicted = _expand(CELLS)
    seen = []

    def draw_maps(images):
        for pixels, pair in images:
            seen.append(pair)
            yield [pixels + 1 + pair[0], pixels + 4 + pair[1]]

    diagnostics.save_mistakes(
        enumerate(labels),
        _scores(labels, predicted),
        tmp_path,
        _image,
        draw_maps,
    )
    wrong = [p for p in zip(labels, predicted, strict=True) if p[0] != p[1]]
    assert seen == wrong
    for pair in set(wrong):
        names = [NAMES[i] for i in pair]
        paths = diagnostics.find_mistakes([_run(tmp_path)], *names)
        assert len(paths) == wrong.count(pair)
        for path in paths:
            colour = np.asarray(Image.open(path))[0, 0, 0]
            maps = np.asarray(Image.open(diagnostics.find_maps(path)))
            assert maps.shape == (48, 192, 3)
            left, right = maps[0, 0, 0], maps[0, -1, 0]
            assert left == colour + 1 + pair[0]
            assert right == colour + 4 + pair[1]


def test_of_each_pair_only_the_first_images_are_kept(tmp_path):
    labels, predicted = np.zeros(9, int), np.ones(9, int)
    scores = _scores(labels, predicted)
    diagnostics.save_mistakes(enumerate(labels), scores, tmp_path, _image)
    paths = diagnostics.find_mistakes([_run(tmp_path)], "a", "b")
    colours = [int(np.asarray(Image.open(path))[0, 0, 0]) for path in paths]
    assert colours == [0, 10, 20, 30]


def test_an_image_that_two_seeds_got_wrong_is_shown_once(tmp_path):
    labels, predicted = np.zeros(2, int), np.ones(2, int)
    scores = _scores(labels, predicted)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        diagnostics.save_mistakes(enumerate(labels), scores, folder, _image)
    assert len(diagnostics.find_mistakes(map(_run, folders), "a", "b")) == 2


def test_a_run_without_mistakes_keeps_nothing(tmp_path):
    labels = np.arange(3)
    scores = _scores(labels, labels)
    diagnostics.save_mistakes(enumerate(labels), scores, tmp_path, _image)
    assert list(tmp_path.iterdir()) == []


def test_images_are_those_that_the_evaluation_saw(tmp_path):
    images = np.stack([_image(i) for i in range(10)])
    examples = sources.from_arrays(images, np.zeros(10, int), NAMES)
    dataset = datasets.make_eval_dataset(examples, lambda x: x, batch_size=4)

    class OddIsWrong:
        def predict_on_batch(self, batch):
            return np.eye(3)[np.asarray(batch)[:, 0, 0, 0] // 10 % 2]

    scores = evaluate.evaluate(OddIsWrong(), dataset)
    diagnostics.save_mistakes(examples.dataset, scores, tmp_path, np.asarray)
    paths = diagnostics.find_mistakes([_run(tmp_path)], "a", "b")
    colours = [int(np.asarray(Image.open(path))[0, 0, 0]) for path in paths]
    assert colours == [10, 30, 50, 70]
