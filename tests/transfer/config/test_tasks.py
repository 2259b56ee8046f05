import numpy as np
import pytest

from efficientnet_tf.data.images import decoding
from efficientnet_tf.models import variants
from transfer.config import tasks

# https://arxiv.org/abs/1905.11946: Table 6 (training images, test images,
# classes) and Table 5, right half (accuracy, model); the metrics are in table 1
# of Kornblith et al., 2019.
PAPER = {
    "cifar10": (50_000, 10_000, 10, 0.989, "b7", "top1"),
    "cifar100": (50_000, 10_000, 100, 0.917, "b7", "top1"),
    "birdsnap": (47_386, 2_443, 500, 0.843, "b7", "top1"),
    "cars196": (8_144, 8_041, 196, 0.947, "b7", "top1"),
    "oxford_flowers102": (2_040, 6_149, 102, 0.988, "b7", "mean_per_class"),
    "fgvc_aircraft": (6_667, 3_333, 100, 0.929, "b7", "mean_per_class"),
    # Printed as 3,369; TFDS and the publishers have 3,669.
    "oxford_iiit_pet": (3_680, 3_669, 37, 0.954, "b6", "mean_per_class"),
    "food101": (75_750, 25_250, 101, 0.930, "b7", "top1"),
}


def test_every_task_of_the_paper_has_a_row():
    assert set(tasks.TASKS) == {*PAPER, "digits"}


@pytest.mark.parametrize("name", PAPER)
def test_a_row_is_as_the_paper_prints_it(name):
    row = tasks.TASKS[name]
    assert (
        row.train_images,
        row.test_images,
        row.classes,
        row.published,
        row.published_model.removeprefix("efficientnet_"),
        row.metric,
    ) == PAPER[name]
    assert row.published_model in variants.VARIANTS


# How TFDS 4.9 names the splits of the sets, and how many images they hold.
OFFICIAL = {
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "cars196": {"train": 8_144, "test": 8_041},
    "oxford_flowers102": {"train": 1_020, "validation": 1_020, "test": 6_149},
    "oxford_iiit_pet": {"train": 3_680, "test": 3_669},
    "food101": {"train": 75_750, "validation": 25_250},
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_training_and_test_splits_share_no_images(name):
    row = tasks.TASKS[name]
    assert row.source == "tfds"
    parts = [getattr(row, split).partition("[") for split in tasks.SPLITS]
    names = [part[0] for part in parts]
    assert set(names) == set(OFFICIAL[name])
    assert names[2] not in names[:2]
    if names[0] == names[1]:
        # One ends where the other begins.
        share = parts[0][2].removeprefix(":").removesuffix("]")
        assert parts[1][2] == f"{share}:]"


def test_every_tfds_task_has_its_splits_in_the_table():
    sources = {k: row.source for k, row in tasks.TASKS.items()}
    assert set(OFFICIAL) == {k for k, v in sources.items() if v == "tfds"}
    assert {k for k, v in sources.items() if v == "folder"} == {
        "birdsnap",
        "fgvc_aircraft",
    }


def test_unknown_tasks_name_the_choices():
    for name in ("cifar", "folder:", ""):
        with pytest.raises(
            ValueError, match=f"'{name}'; .*cifar10.*folder:PATH"
        ):
            tasks.get_task(name)


def test_validation_images_of_birdsnap_are_not_trained_on():
    row = tasks.TASKS["birdsnap"]
    assert (row.train, row.validation) == ("train[:90%]", "train[90%:]")


def test_digits_are_divided_once_and_for_all():
    examples = tasks.load_examples(tasks.get_task("digits"))
    again = tasks.load_examples(tasks.get_task("digits"))
    # 70 %, 10 %, 20 % of 1,797.
    assert [examples[s].size for s in tasks.SPLITS] == [1_257, 180, 360]
    for split in tasks.SPLITS:
        assert examples[split].class_names == tuple("0123456789")
        assert examples[split].fingerprint == again[split].fingerprint
    # One image of class 0 to 9 differs from another: all pixels are there.
    images = [
        np.stack(list(e.dataset.map(lambda x, _: x).as_numpy_iterator()))
        for e in examples.values()
    ]
    assert images[0].shape[1:] == (8, 8, 3)
    assert max(part.max() for part in images) == 255
    # A mirrored digit is no longer that digit.
    assert not tasks.TASKS["digits"].flip


def test_a_folder_task_takes_its_classes_from_the_folder(tmp_path, make_folder):
    make_folder(tmp_path, {"a": 10, "b": 10})
    examples = tasks.load_examples(tasks.get_task(f"folder:{tmp_path}"))
    assert [examples[s].size for s in tasks.SPLITS] == [14, 2, 4]
    assert examples["test"].class_names == ("a", "b")


def test_a_folder_of_the_paper_needs_all_of_its_classes(tmp_path, make_folder):
    task = tasks.get_task("fgvc_aircraft")
    with pytest.raises(FileNotFoundError, match="train/CLASS/IMAGE.jpg"):
        tasks.load_examples(task, tmp_path)
    make_folder(tmp_path / "fgvc_aircraft", {"a": 10, "b": 10})
    with pytest.raises(RuntimeError, match="100 classes, but the data have 2"):
        tasks.load_examples(task, tmp_path)


# Sizes in the table of the shared folder's README: train, validation, test.
SHARED = {
    "cifar10": (5_400, 600, 965),
    "cifar100": (5_400, 600, 1_000),
    "oxford_flowers102": (1_020, 1_020, 510),
    "cars196": (1_568, 392, 784),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_tfds_task_loads_from_a_data_directory(data_dir, name):
    task = tasks.get_task(name)
    examples = tasks.load_examples(task, data_dir)
    assert tuple(examples[s].size for s in tasks.SPLITS) == SHARED[name]
    assert len(examples["train"].class_names) == task.classes
    image, _ = next(iter(examples["test"].dataset))
    assert decoding.decode(image).dtype == "uint8"


def test_prepared_sets_are_found_where_tfds_keeps_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    made = tmp_path / "tensorflow_datasets" / "birdsnap" / "1.0.0"
    made.mkdir(parents=True)
    (made / "dataset_info.json").touch()
    assert tasks.is_prepared("birdsnap", None)
    assert not tasks.is_prepared("birdsnap", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    assert not tasks.is_prepared("birdsnap", None)
