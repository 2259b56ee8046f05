import collections

import numpy as np
import pytest

import samples
from efficientnet_tf.commands import trained_on
from efficientnet_tf.data.sets import sources, split_list
from efficientnet_tf.utils import folder_options, run_folder
from transfer.config import recipes
from transfer.training import few_images

COUNTS = {"a": 20, "b": 14, "c": 12}


@pytest.fixture(scope="module")
def digits():
    """{split: arrays}, in which each image's pixels are its number."""
    numbers = iter(range(300))
    parts = {}
    for split, size in (("train", 90), ("validation", 30), ("test", 12)):
        images = np.stack(
            [np.full((2, 2, 3), next(numbers), "uint8") for _ in range(size)]
        )
        labels = np.arange(size) % 3
        parts[split] = sources.from_arrays(images, labels, ["a", "b", "c"])
    return parts


def make_config(shots, seed):
    return recipes.get_recipe("linear", [f"shots={shots}", f"seed={seed}"])


def draw(parts, shots, *changes):
    changes = [f"shots={shots}", *changes]
    return few_images.draw(parts, recipes.get_recipe("linear", changes))


def read(part):
    return {int(image[0, 0, 0]) for image, _ in part.dataset}


@pytest.mark.parametrize(("shots", "seed"), [(1, 0), (2, 3), (10, 1)])
def test_so_many_images_of_each_class_are_drawn(digits, shots, seed):
    drawn = draw(digits, shots, f"seed={seed}")
    train, validation = drawn["train"], drawn["validation"]
    labels = [*train.read_labels(), *validation.read_labels()]
    assert collections.Counter(labels) == dict.fromkeys(range(3), shots)
    assert validation.size == {1: 1, 2: 3, 10: 6}[shots]
    assert not read(train) & read(validation)
    assert drawn["test"] is digits["test"]
    # The same again; another one by another seed; a larger one has it.
    both = read(train) | read(validation)
    again = draw(digits, shots, f"seed={seed}")
    assert read(again["train"]) == read(train)
    assert train.fingerprint == again["train"].fingerprint
    other = draw(digits, shots, f"seed={seed + 1}")
    assert read(other["train"]) | read(other["validation"]) != both
    larger = draw(digits, shots + 2, f"seed={seed}")
    assert both < read(larger["train"]) | read(larger["validation"])
    # What was drawn is drawn once.
    twice = draw(drawn, shots, f"seed={seed}")
    assert twice["train"] is train


def test_validation_images_that_are_not_trained_on_stay(digits, caplog):
    drawn = draw(digits, 4, "train_on=train")
    assert drawn["validation"] is digits["validation"]
    assert np.bincount(drawn["train"].read_labels()).tolist() == [4, 4, 4]
    assert "shots=4: 12 images of 90 are trained on, 78 ignored" in caplog.text
    caplog.clear()
    drawn = draw(digits, 500)
    assert drawn["train"] is digits["train"] and not caplog.text


def test_the_list_of_a_run_says_which_images_were_drawn(tmp_path, caplog):
    root = samples.make_folder(tmp_path / "photos", {**COUNTS, "d": 3}, 8)
    options = folder_options.Options(workdir=tmp_path)
    splits = ("train", "validation", "test")
    loaded = sources.load_splits(f"folder:{root}", splits, None, options)
    drawn = draw(loaded, 5)
    assert "fewer than that have d" in caplog.text
    few_images.keep_list(tmp_path, drawn)
    rows = split_list.read(tmp_path)
    counts = collections.Counter(row.split for row in rows)
    trained = counts["train"] + counts["validation"]
    assert trained == 15 + sum(
        r.label == "d" and r.split in splits[:2] for r in rows
    )
    assert counts["test"] == loaded["test"].size
    assert sum(counts.values()) == 49
    ignored = {"ignored_images": 49 - trained - counts["test"]}
    assert few_images.count_ignored(tmp_path, loaded, drawn) == ignored
    # A resumed run reads what was drawn.
    options = folder_options.Options(workdir=tmp_path, resumes=True)
    resumed = sources.load_splits(f"folder:{root}", splits, None, options)
    for split in splits:
        names = set(drawn[split].source.names)
        assert set(resumed[split].source.names) == names
    assert draw(resumed, 5)["train"].size == drawn["train"].size
    assert few_images.count_ignored(tmp_path, resumed, resumed) == ignored


def test_each_run_of_a_grid_lists_the_images_that_it_has_drawn(tmp_path):
    root = samples.make_folder(tmp_path / "photos", COUNTS, 8)
    grid = tmp_path / "grid"
    options = folder_options.Options(workdir=grid)
    splits = ("train", "validation", "test")
    loaded = sources.load_splits(f"folder:{root}", splits, None, options)
    shared = (grid / run_folder.IMAGES_FILE).read_bytes()
    used = []
    for seed in (0, 1):
        own = tmp_path / f"seed={seed}"
        for _ in range(2):  # An interrupted run draws again.
            drawn = few_images.draw(loaded, make_config(2, seed), own, grid)
        rows = split_list.read(own)
        for split in splits:
            listed = {row.sha256 for row in rows if row.split == split}
            assert listed == set(drawn[split].source.sha256)
        used.append({r.path for r in rows if r.split in splits[:2]})
        assert len(used[-1]) == 6
        ignored = len(rows) - 6 - loaded["test"].size
        found = few_images.count_ignored(own, loaded, drawn)
        assert found == {"ignored_images": ignored}
        # What says which images a run has seen finds its own list.
        assert trained_on.find_list(own, {"task": f"folder:{root}"}) == own
    assert used[0] != used[1]
    assert (grid / run_folder.IMAGES_FILE).read_bytes() == shared
    # All images of a class, and of no shots, are the grid's list.
    for shots in (0, 500):
        few_images.draw(loaded, make_config(shots, 0), tmp_path / "all", grid)
    assert not (tmp_path / "all").exists()


def test_records_are_drawn_into_memory(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from efficientnet_tf.data import examples
    from efficientnet_tf.data.archives import tfrecords

    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(9):
            writer.write(bytes([number]))
    source = tfrecords.Sharded(
        (tfrecords.Shard(path, 0, 9),),
        lambda record: (
            record,
            tf.cast(tf.io.decode_raw(record, "uint8")[0] % 3, "int64"),
        ),
    )
    parts = dict.fromkeys(
        ("train", "validation", "test"),
        examples.Examples(source, ("a", "b", "c"), "x"),
    )
    drawn = draw(parts, 2, "train_on=train")["train"]
    found = [
        (image[0], label) for image, label in drawn.dataset.as_numpy_iterator()
    ]
    assert len(found) == 6 and all(
        number % 3 == label for number, label in found
    )
    assert collections.Counter(label for _, label in found) == {
        0: 2,
        1: 2,
        2: 2,
    }
    assert "record" in drawn.source.name(0)


def test_shots_of_labels_are_refused(digits):
    import dataclasses

    parts = {
        split: dataclasses.replace(part, target="labels")
        for split, part in digits.items()
    }
    with pytest.raises(ValueError, match="shots=2 needs one class an image"):
        draw(parts, 2)
