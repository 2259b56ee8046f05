import os
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import scipy.io

import archive_cases
from transfer.config import published, tasks
from transfer.datasets import archives, publishers

CARS = "cars196"
FLOWERS = "oxford_flowers102"
AIRCRAFT = "fgvc_aircraft"


@pytest.fixture
def open_set(tmp_path):
    """Writes a tiny set; the second call reads it."""

    def write(name):
        root = tmp_path / name
        if not root.exists():
            archive_cases.SETS[name][0](root)
            return root
        with archives.opened(name, root, tmp_path / "scratch") as archive:
            return archive

    return write


def test_every_set_with_an_archive_is_a_task_of_the_paper():
    assert set(publishers.FORMATS) == set(archive_cases.SETS)
    assert set(publishers.FORMATS) == set(published.BEST_REPORTED)
    # Sets that TFDS does not have carry their own version.
    for name, row in publishers.FORMATS.items():
        assert (row.version is None) == (tasks.TASKS[name].source == "tfds")


@pytest.mark.parametrize("name", archive_cases.SETS)
def test_lists_are_read_with_labels_from_zero(open_set, name):
    _, labels, classes = archive_cases.SETS[name]
    open_set(name)
    archive = open_set(name)
    assert archive.classes == classes
    assert {k: [i.label for i in v] for k, v in archive.splits.items()} == (
        labels
    )
    for images in archive.splits.values():
        assert all(image.file.is_file() for image in images)


def test_names_boxes_and_keys_are_the_publishers(open_set):
    for name in archive_cases.SETS:
        open_set(name)
    assert open_set(AIRCRAFT).class_names == archive_cases.VARIANTS
    # Ordered by id, whatever the order of the lines.
    birds = open_set("birdsnap")
    assert birds.class_names == archive_cases.SPECIES
    assert birds.splits["test"][0].key == "Acadian_Flycatcher/test0.jpg"
    car = open_set(CARS).splits["train"][1]
    assert (car.key, car.box) == ("00002", (4, 5, 20, 10))
    flowers = open_set(FLOWERS).splits["train"]
    assert [f.key for f in flowers] == ["image_00009.jpg", "image_00008.jpg"]


def _cars_without_labels(root):
    archive_cases.cars_list(root, "test").unlink()


def _cars_out_of_range(root):
    path = archive_cases.cars_list(root, "train")
    archive_cases.write_annotations(path, [(1, 1, 2, 2, 197, "00007.jpg")])


def _cars_with(row):
    def damage(root):
        path = archive_cases.cars_list(root, "train")
        archive_cases.write_annotations(path, [row])

    return damage


def _cars_with_a_class_twice(root):
    names = {"class_names": np.array([["a", "b", "a"]], dtype=object)}
    scipy.io.savemat(root / "devkit" / "cars_meta.mat", names)


def _flowers_beyond_the_labels(root):
    numbers = {key: np.array([[99]]) for key in ("trnid", "valid", "tstid")}
    scipy.io.savemat(root / "setid.mat", numbers)


def _flowers_without_a_list(root):
    scipy.io.savemat(root / "setid.mat", {"trnid": np.array([[1]])})


def _append(name, line):
    def damage(root):
        path = next(root.rglob(name))
        path.write_text(f"{path.read_text().rstrip()}\n{line}\n")

    return damage


def _cifar_cut(root):
    path = next(root.rglob("test.bin"))
    path.write_bytes(path.read_bytes()[:-1])


def _cifar_out_of_range(root):
    archive_cases.write_batch(next(root.rglob("test_batch.bin")), [(10,)], 0)


def _cifar_for_python(root):
    for path in root.rglob("*.bin"):
        path.rename(path.with_suffix(""))


# (set, damage, message)
DAMAGES = [
    (
        "oxford_iiit_pet",
        _append("test.txt", "pug_99 1 1 1"),
        "test.txt, line 4: pug_99 has the class of breed_0",
    ),
    (
        "oxford_iiit_pet",
        _append("trainval.txt", "pug_99 38 1 1"),
        "trainval.txt, line 38 has class 38, not 1 to 37",
    ),
    (
        "oxford_iiit_pet",
        _append("trainval.txt", "pug_99 1"),
        "trainval.txt, line 38 does not have 4 words: 'pug_99 1'",
    ),
    (
        "oxford_iiit_pet",
        _append("breed_1_2.xml", "<more/>"),
        "breed_1_2.xml has no bounding box",
    ),
    (
        "food101",
        _append("test.txt", "pie/1"),
        "test.txt, line 3: 'pie' is not one of the 101 classes of classes.txt",
    ),
    (
        "food101",
        _append("classes.txt", "dish_7"),
        "classes.txt: the class 'dish_7' is there twice",
    ),
    (
        "cifar100",
        _cifar_cut,
        "test.bin has 3,073 bytes, not 3,074 for each image",
    ),
    (
        "cifar10",
        _cifar_out_of_range,
        "test_batch.bin, image 0 has class 10, not 0 to 9",
    ),
    (
        "cifar10",
        _cifar_for_python,
        "data_batch_1.bin, .* not found. .* https.*: the binary version, cifar",
    ),
    (CARS, _cars_without_labels, "cars_test_annos.mat has no labels; .*with"),
    (CARS, _cars_out_of_range, "annos.mat: 00007.jpg has class 197, not 1 to"),
    (CARS, _cars_with_a_class_twice, "meta.mat: .* 'a' is there twice, .*3"),
    (
        CARS,
        lambda root: (root / "devkit" / "cars_meta.mat").write_text("x" * 200),
        "cars_meta.mat is not a MATLAB file",
    ),
    (
        CARS,
        lambda root: (root / "devkit" / "cars_meta.mat").unlink(),
        "does not hold all of cars196: cars_meta.mat not found",
    ),
    (FLOWERS, _flowers_beyond_the_labels, "setid.mat: .*99, not 1 to 9"),
    (FLOWERS, _flowers_without_a_list, "setid.mat has no variable 'valid'"),
    (
        FLOWERS,
        lambda root: [f.unlink() for f in root.glob("*.mat")],
        "imagelabels.mat, setid.mat not found",
    ),
    (
        AIRCRAFT,
        _append("images_variant_val.txt", "1234567 737-900"),
        "images_variant_val.txt, line 3: '737-900' is not one of the 3",
    ),
    (
        AIRCRAFT,
        _append("variants.txt", "F/A-18"),
        "variants.txt: the variant 'F/A-18' is there twice, as number 2 and 4",
    ),
    (
        "birdsnap",
        _append("species.txt", "3\tBlue Jay\tL\td"),
        "species.txt: the class 'Blue Jay' is there twice",
    ),
    (
        "birdsnap",
        _append("images.txt", "u\tm\tp\t501\t3"),
        "images.txt, line 14 has class 501, not 1 to 2",
    ),
    (
        "birdsnap",
        _append("images.txt", "u\tm\tp"),
        "images.txt, line 14 has too few columns",
    ),
    (
        "birdsnap",
        _append("test_images.txt", "a/b.jpg"),
        "test_images.txt, line 4: a/b.jpg is not in images.txt",
    ),
    # Names that would lead out of the source, and other hostile lists.
    (
        "birdsnap",
        _append("images.txt", "u\tm\t/etc/x.jpg\t1\t3"),
        "images.txt, line 14: '/etc/x.jpg' is not the name of a file in",
    ),
    (
        "birdsnap",
        _append("images.txt", "u\tm\ta/../../../x.jpg\t1\t3"),
        "line 14: 'a/../../../x.jpg' is not the name of a file",
    ),
    (
        "birdsnap",
        _append("images.txt", f"u\tm\ta\t{'9' * 5000}\t3"),
        r"images.txt, line 14 has class \[...\], not 1 to 2",
    ),
    (
        "birdsnap",
        _append("images.txt", "x" * 200_000),
        "images.txt, line 14: field larger than field limit",
    ),
    (
        "birdsnap",
        lambda root: (root / "species.txt").write_bytes(b"id\tcommon\n\xff"),
        "species.txt is not UTF-8 text",
    ),
    (
        AIRCRAFT,
        _append("images_variant_val.txt", "../../x 707-320"),
        "line 3: '../../x.jpg' is not the name of a file",
    ),
    (
        "food101",
        _append("test.txt", "dish_0/../../../x"),
        "test.txt, line 3: 'dish_0/../../../x.jpg' is not the name",
    ),
    (
        "oxford_iiit_pet",
        _append("test.txt", "../../x 4 1 1"),
        "test.txt, line 4: .* is not the name|has the class of",
    ),
    (
        CARS,
        _cars_with((1, 1, 2, 2, 7, "../../x.jpg")),
        "'../../x.jpg' is not the name of a file",
    ),
    (CARS, _cars_with((1, "x", 2, 2, 7, "1.jpg")), "1.jpg has no bounding box"),
    (
        CARS,
        _cars_with((1, 1, 2, 2, np.ones(9), "1.jpg")),
        "1.jpg: class is not one value",
    ),
    (
        FLOWERS,
        lambda root: scipy.io.savemat(
            root / "setid.mat", dict.fromkeys(("trnid", "valid", "tstid"), "x")
        ),
        "setid.mat: trnid names image x, not 1 to 9",
    ),
    (
        FLOWERS,
        lambda root: scipy.io.savemat(
            root / "setid.mat",
            {"trnid": np.zeros(2**26, "uint8")},
            do_compression=True,
        ),
        "setid.mat holds more than 67,108,864 bytes, far more than a list",
    ),
    (
        "cifar10",
        lambda root: [
            (path.unlink(), os.mkfifo(path))
            for path in root.rglob("test_batch.bin")
        ],
        "test_batch.bin not found",
    ),
]


@pytest.mark.parametrize("name, damage, message", DAMAGES)
def test_a_wrong_list_gives_one_line(open_set, name, damage, message):
    damage(open_set(name))
    with pytest.raises((OSError, RuntimeError), match=message) as caught:
        open_set(name)
    assert "\n" not in str(caught.value)


# {set: {archive: its part of the set's folder}}; the rest is not packed.
PACKED = {
    CARS: {
        "cars_train.tgz": ["cars_train"],
        "car_devkit.tgz": ["devkit"],
        "cars_test.zip": ["cars_test"],
    },
    FLOWERS: {"102flowers.tgz": ["jpg"]},
    AIRCRAFT: {"fgvc-aircraft-2013b.tar.gz": ["fgvc-aircraft-2013b"]},
    "birdsnap": {
        "birdsnap.tgz": [
            *("images.txt", "test_images.txt", "species.txt", "images"),
        ],
    },
    "oxford_iiit_pet": {
        "images.tar.gz": ["images"],
        "annotations.tar.gz": ["annotations"],
    },
    "food101": {"food-101.tar.gz": ["food-101"]},
    "cifar10": {"cifar-10-binary.tar.gz": ["cifar-10-batches-bin"]},
    "cifar100": {"cifar-100-binary.tar.gz": ["cifar-100-binary"]},
}


def _pack(name, root, packed):
    """Packs a set as its publisher does."""
    packed.mkdir(exist_ok=True)
    left = {path.name for path in root.iterdir()}
    for archive, members in PACKED[name].items():
        left -= set(members)
        if archive.endswith(".zip"):
            with zipfile.ZipFile(packed / archive, "w") as file:
                for member in members:
                    for path in (root / member).rglob("*"):
                        file.write(path, path.relative_to(root))
        else:
            with tarfile.open(packed / archive, "w:gz") as file:
                for member in members:
                    top = "birdsnap/" * (name == "birdsnap")
                    file.add(root / member, f"{top}{member}")
    for file in left:
        shutil.copy(root / file, packed / file)


def _labels(name, source, scratch):
    """Returns {split: labels} of a set, after a check that its files exist."""
    with archives.opened(name, source, scratch) as archive:
        for images in archive.splits.values():
            assert all(image.file.is_file() for image in images)
        found = {
            split: [image.label for image in images]
            for split, images in archive.splits.items()
        }
    assert not scratch.exists()
    return found


@pytest.fixture
def all_sets(open_set, tmp_path):
    """The folders of all sets, each as written by its publisher."""
    return {name: open_set(name) for name in archive_cases.SETS}


@pytest.mark.parametrize("form", ["packed", "unpacked"])
def test_sets_in_one_folder_are_told_apart(form, all_sets, tmp_path):
    source = tmp_path / "downloads"
    source.mkdir()
    for name, root in all_sets.items():
        if form == "packed":
            _pack(name, root, source)
        else:
            shutil.copytree(root, source / f"set of {name}")
    (source / "._images.tar.gz").write_bytes(b"of a Mac")
    (source / "extracted.tar.gz").mkdir()
    for name, (_, labels, _) in archive_cases.SETS.items():
        assert _labels(name, source, tmp_path / "scratch") == labels


def test_a_folder_inside_one_of_its_name_is_entered(open_set, tmp_path):
    root = open_set("oxford_iiit_pet")
    (root / "images").rename(root / "inner")
    (root / "images").mkdir()
    (root / "inner").rename(root / "images" / "images")
    labels = archive_cases.PETS
    assert _labels("oxford_iiit_pet", root, tmp_path / "scratch") == labels


def test_what_a_kill_left_is_not_taken_for_the_source(open_set, tmp_path):
    source, scratch = tmp_path / "downloads", tmp_path / "downloads" / ".tmp-x"
    _pack("food101", open_set("food101"), source)
    shutil.copytree(tmp_path / "food101", scratch)
    assert _labels("food101", source, scratch) == archive_cases.FOOD


def test_a_cut_archive_is_named_unless_it_is_of_another_set(open_set, tmp_path):
    source, scratch = tmp_path / "downloads", tmp_path / "scratch"
    for name in (CARS, "cifar10"):
        _pack(name, open_set(name), source)
    path = source / "cars_train.tgz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = f"{re.escape(str(path))} cannot be unpacked: .*complete"
    with pytest.raises(RuntimeError, match=message):
        _labels(CARS, source, scratch)
    assert not scratch.exists()
    assert _labels("cifar10", source, scratch) == archive_cases.CIFAR10


@pytest.mark.parametrize("archive", ["cars_train.tgz", "cars_test.zip"])
def test_an_archive_that_is_damaged_inside_is_named(
    archive, open_set, tmp_path
):
    packed = tmp_path / "packed"
    _pack(CARS, open_set(CARS), packed)
    path = packed / archive
    whole = path.read_bytes()
    named = 0
    for place in range(200, len(whole) - 200, len(whole) // 20):
        broken = b"\xff\x00\xff\x13\x37\x00"
        path.write_bytes(whole[:place] + broken + whole[place + 6 :])
        try:
            with archives.opened(CARS, packed, tmp_path / "scratch"):
                pass  # Of a damaged name, or an early end, `prepare` tells.
        except FileNotFoundError as error:
            assert path.stem in str(error)
        except RuntimeError as error:
            assert f"{path} cannot be unpacked" in str(error)
            named += 1
    assert named


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        with archives.opened(CARS, tmp_path / "nowhere", tmp_path / "scratch"):
            pass
