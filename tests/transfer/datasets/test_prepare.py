import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds

import archive_cases
from efficientnet_tf.data.archives import tfds as tfds_sets
from efficientnet_tf.data.sets import damaged_files
from transfer.config import tasks
from transfer.datasets import prepare, publishers

CARS = "cars196"
BIRDS = "birdsnap"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A function that writes a tiny set, with its sizes in the task's row."""

    def write(name):
        writer, labels, classes = archive_cases.SETS[name]
        writer(tmp_path / name)
        counts = {k: len(v) for k, v in labels.items()}
        sizes = prepare.count(counts, tasks.TASKS[name].test)
        row = dataclasses.replace(
            tasks.TASKS[name],
            classes=classes,
            train_images=sizes[0],
            test_images=sizes[1],
        )
        monkeypatch.setitem(tasks.TASKS, name, row)
        return tmp_path / name

    return write


def _read(name, data_dir):
    """{split: sorted (label, encoded image)} as fine-tuning reads them."""
    examples = tasks.load_examples(tasks.get_task(name), data_dir)
    return {
        split: sorted(
            (int(label), image)
            for image, label in part.dataset.as_numpy_iterator()
        )
        for split, part in examples.items()
    }


@pytest.mark.parametrize("name", archive_cases.SETS)
def test_every_image_is_written_once_with_its_label(name, source, tmp_path):
    root, out = source(name), tmp_path / "tfds"
    labels = archive_cases.SETS[name][1]
    sizes = prepare.prepare(name, root, out)
    assert sizes == {split: len(v) for split, v in labels.items()}
    found = _read(name, out)
    tested = labels[tasks.TASKS[name].test]
    assert [i for i, _ in found["test"]] == sorted(tested)
    written = [pair for split in found.values() for pair in split]
    expected = sorted(sum(labels.values(), []))
    assert sorted(label for label, _ in written) == expected
    if not name.startswith("cifar"):  # The bytes are the publisher's.
        files = {file.read_bytes() for file in root.rglob("*.jpg")}
        assert {image for _, image in written} == files
    # Nothing else is left beside it.
    assert [path.name for path in out.iterdir()] == [name]
    assert len(list((out / name).iterdir())) == 1


def _written(name, source, data_dir, split="train"):
    """Returns TFDS's rows, after a check that TFDS's own builder reads them."""
    prepare.prepare(name, source(name), data_dir)
    builder = tfds.builder(name, data_dir=data_dir)
    official = tfds.builder(name, data_dir=data_dir / "none")
    assert type(builder) is type(official)
    assert builder.version == official.version
    assert builder.info.features.keys() == official.info.features.keys()
    return builder, list(tfds.as_numpy(builder.as_dataset(split=split)))


def test_pets_keep_their_masks_and_boxes(source, tmp_path):
    _, rows = _written("oxford_iiit_pet", source, tmp_path / "tfds")
    rows = {row["file_name"].decode(): row for row in rows}
    row = rows["breed_1_2.jpg"]
    assert (row["label"], row["species"]) == (1, 1)
    np.testing.assert_allclose(row["head_bbox"], [0.25, 0.1, 0.5, 0.5])
    assert (row["segmentation_mask"] == 3).all()
    builder = tfds.builder("oxford_iiit_pet", data_dir=tmp_path / "tfds")
    tests = tfds.as_numpy(builder.as_dataset(split="test"))
    assert not any(row["head_bbox"].any() for row in tests)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pixels_and_names_of_cifar_are_the_publishers(name, source, tmp_path):
    builder, rows = _written(name, source, tmp_path / "tfds", "test")
    rows = {row["id"].decode(): row for row in rows}
    labels = archive_cases.SETS[name][1]["test"]
    assert [rows[f"test_{i:05d}"]["label"] for i in range(len(rows))] == labels
    pixels = archive_cases.cifar_pixels(
        len(labels), {10: 9, 100: 4}[int(name[5:])]
    )
    for i, image in enumerate(pixels):
        np.testing.assert_array_equal(rows[f"test_{i:05d}"]["image"], image)
    names = builder.info.features["label"].names
    assert names[3] == {"cifar10": "thing 3", "cifar100": "fine 3"}[name]
    if name == "cifar100":
        assert rows["test_00000"]["coarse_label"] == 42 // 5
        assert builder.info.features["coarse_label"].names[3] == "coarse 3"


def test_cifar_is_in_the_order_that_tfds_writes(source, tmp_path, monkeypatch):
    # The end of train is for validation.
    labels = list(range(100)) * 2
    monkeypatch.setitem(archive_cases.CIFAR100, "train", labels)
    root = source("cifar100")
    prepare.prepare("cifar100", root, tmp_path / "ours")
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, url: root,
    )
    theirs = tfds.builder("cifar100", data_dir=tmp_path / "theirs")
    theirs.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    orders = [
        [row["id"] for row in tfds.as_numpy(builder.as_dataset(split="train"))]
        for builder in (
            tfds.builder("cifar100", data_dir=tmp_path / "ours"),
            theirs,
        )
    ]
    assert orders[0] == orders[1] != sorted(orders[0])
    assert len(orders[0]) == 200


def test_food_is_scored_on_what_tfds_calls_validation(source, tmp_path):
    _, rows = _written("food101", source, tmp_path / "tfds", "validation")
    assert sorted(row["label"] for row in rows) == [0, 1]


def test_a_set_too_small_for_its_splits_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(archive_cases.FOOD, "train", [0, 1, 2])
    prepare.prepare("food101", source("food101"), tmp_path / "tfds")
    message = r"food101 is too small: 'train\[90%:\]' has no images.*validation"
    with pytest.raises(RuntimeError, match=message):
        _read("food101", tmp_path / "tfds")


def test_another_version_is_not_taken_for_the_set(source, tmp_path):
    old = tmp_path / "tfds" / "food101" / "1.0.0"
    left = tmp_path / "tfds" / "food101" / "incomplete.ABC_2.0.0"
    for folder in (old, left):
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    root = source("food101")
    sizes = prepare.prepare("food101", root, tmp_path / "tfds")
    assert sizes == {"train": 5, "validation": 2}
    assert old.exists() and not left.exists()


def test_an_image_without_its_mask_is_named(source, tmp_path):
    root = source("oxford_iiit_pet")
    next(root.rglob("breed_1_2.png")).unlink()
    message = "1 of 37 train images lack their file in trimaps, .*breed_1_2"
    with pytest.raises(RuntimeError, match=message):
        prepare.prepare("oxford_iiit_pet", root, tmp_path / "tfds")


@pytest.mark.parametrize("name", [CARS, "oxford_flowers102"])
def test_tfds_reads_it_as_its_own(name, source, tmp_path):
    prepare.prepare(name, source(name), tmp_path / "tfds")
    builder = tfds.builder(name, data_dir=tmp_path / "tfds")
    official = tfds.builder(name, data_dir=tmp_path / "none")
    assert type(builder) is type(official)
    assert builder.version == official.version
    assert builder.info.features.to_json() == official.info.features.to_json()
    rows = tfds.as_numpy(builder.as_dataset(split="train"))
    if name == CARS:
        rows = {row["id"].decode(): row["bbox"] for row in rows}
        # y1 / 20, x1 / 40, y2 / 20, x2 / 40; no box reaches past the edge.
        np.testing.assert_allclose(rows["00002"], [0.25, 0.1, 0.5, 0.5])
        np.testing.assert_allclose(rows["00001"], [0.25, 0.1, 1.0, 0.5])
    else:
        rows = {row["file_name"].decode(): int(row["label"]) for row in rows}
        assert rows == {"image_00009.jpg": 101, "image_00008.jpg": 0}


@pytest.mark.parametrize("name", ["fgvc_aircraft", BIRDS])
def test_sets_that_tfds_does_not_know_keep_their_class_names(
    name, source, tmp_path
):
    prepare.prepare(name, source(name), tmp_path)
    expected = {
        "fgvc_aircraft": archive_cases.VARIANTS,
        BIRDS: archive_cases.SPECIES,
    }[name]
    examples = tasks.load_examples(tasks.get_task(name), tmp_path)
    assert examples["train"].class_names == expected
    # A share of Birdsnap's training images is for validation.
    sizes = {"fgvc_aircraft": [2, 2, 3], BIRDS: [9, 1, 2]}[name]
    assert [examples[split].size for split in tasks.SPLITS] == sizes


def test_the_order_does_not_follow_the_place(source, tmp_path):
    root = source(BIRDS)
    prepare.prepare(BIRDS, root, tmp_path / "a")
    moved = root.rename(tmp_path / "moved")
    prepare.prepare(BIRDS, moved, tmp_path / "b")
    assert _read(BIRDS, tmp_path / "a") == _read(BIRDS, tmp_path / "b")


def _remove(root):
    (root / "images" / "Blue_Jay" / "train0.jpg").unlink()


def _cut(root):
    # Cars have no checksums that would show it.
    path = root / "cars_train" / "00002.jpg"
    path.write_bytes(path.read_bytes()[:300])


def _replace(root):
    archive_cases.write_image(
        root / "images" / "Blue_Jay" / "test1.jpg", 77, "other"
    )


def _shorten(root):
    (root / "test_images.txt").write_text("path\nBlue_Jay/test1.jpg\n")


# (set, damage, message, sizes with allow_partial)
PARTIAL = [
    (
        BIRDS,
        _remove,
        "1 of 10 train images are missing, such as .*Jay/train0.jpg",
        {"train": 9, "test": 2},
    ),
    (
        BIRDS,
        _replace,
        "1 of 2 test images differ from the publisher's md5, .*test1.jpg",
        {"train": 10, "test": 1},
    ),
    (
        CARS,
        _cut,
        "1 of 5 train images cannot be read, such as .*00002.jpg",
        {"train": 4, "test": 2},
    ),
    (
        BIRDS,
        _shorten,
        "images.txt, test_images.txt list 11 training and 1 test "
        r"images; birdsnap has 10 training and 2 test images \(Table 6\)",
        {"train": 11, "test": 1},
    ),
]


@pytest.mark.parametrize("name, damage, message, sizes", PARTIAL)
def test_a_partial_copy_is_named_or_written_as_such(
    name, damage, message, sizes, source, tmp_path
):
    root, out = source(name), tmp_path / "tfds"
    damage(root)
    with pytest.raises(RuntimeError, match=message) as caught:
        prepare.prepare(name, root, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert prepare.prepare(name, root, out, allow_partial=True) == sizes
    # A second call finds it, and still reports that it is not complete.
    assert prepare.prepare(name, root, out, allow_partial=True) == sizes
    with pytest.raises(RuntimeError, match="holds .* Delete it to write it"):
        prepare.prepare(name, root, out)


def test_images_are_examined_once_a_folder(source, tmp_path, monkeypatch):
    calls = []
    examine = damaged_files.examine

    def count(root, paths):
        calls.append((root.name, len(paths)))
        return examine(root, paths)

    monkeypatch.setattr(damaged_files, "examine", count)
    prepare.prepare(CARS, source(CARS), tmp_path / "tfds")
    assert calls == [("cars_train", 5), ("cars_test", 2)]


def test_a_split_without_images_is_not_written(source, tmp_path):
    root = source(CARS)
    for file in (root / "cars_test").iterdir():
        file.unlink()
    with pytest.raises(RuntimeError, match="2 of 2 test images are missing"):
        prepare.prepare(CARS, root, tmp_path / "tfds", allow_partial=True)
    assert not (tmp_path / "tfds").exists()


def test_an_image_in_two_splits_and_other_classes_are_refused(source, tmp_path):
    root = source("fgvc_aircraft") / "fgvc-aircraft-2013b" / "data"
    path = root / "images_variant_test.txt"
    text = path.read_text()
    path.write_text(text + "0034309 707-320\n")
    message = "test.txt: 0034309.jpg is there twice, in train and in test"
    with pytest.raises(RuntimeError, match=message):
        prepare.prepare("fgvc_aircraft", root, tmp_path, allow_partial=True)
    path.write_text(text)
    variants = root / "variants.txt"
    variants.write_text(variants.read_text() + "A380\n")
    with pytest.raises(RuntimeError, match="has 3 classes, but .* name 4"):
        prepare.prepare("fgvc_aircraft", root, tmp_path, allow_partial=True)


def test_writing_that_is_broken_off_leaves_nothing(
    source, tmp_path, monkeypatch
):
    root, out = source(BIRDS), tmp_path / "tfds"

    written = prepare._examples

    def examples(images, features):
        yield from written(images[:1], features)
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_examples", examples)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(BIRDS, root, out)
    assert not [path for path in out.rglob("*") if path.is_file()]
    monkeypatch.setattr(prepare, "_examples", written)
    # The next call removes what a killed one left.
    (out / BIRDS / "incomplete.ABC_1.1.0").mkdir(parents=True)
    prepare.prepare(BIRDS, root, out)
    assert [path.name for path in (out / BIRDS).iterdir()] == ["1.1.0"]


def test_who_cannot_download_a_set_is_told_of_its_archives():
    known = {k for k, v in publishers.FORMATS.items() if v.version is None}
    told = {
        k for k, v in tfds_sets.MANUAL.items() if "efficientnet prepare" in v
    }
    assert told == known


def test_other_tasks_name_the_choices(tmp_path):
    with pytest.raises(ValueError, match=".digits. .*choose one of cars196"):
        prepare.prepare("digits", tmp_path, tmp_path)
