import re
import tarfile
import zipfile

import archive_cases
import numpy as np
import pytest
import scipy.io

from transfer import archives, paper, publishers, tasks

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
    assert set(publishers.FORMATS) == set(paper.BEST_REPORTED)
    # What TFDS does not know has a version of its own.
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
    # By their ids, whatever the order of the lines.
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


# (set, what is done to it, what the line says)
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
        "trainval.txt, line 38 is not of four words: 'pug_99 1'",
    ),
    (
        "oxford_iiit_pet",
        _append("breed_1_2.xml", "<more/>"),
        "breed_1_2.xml has no box of an object",
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
    ("cifar100", _cifar_cut, "test.bin has 3,073 bytes, not 3,074 an image"),
    (
        "cifar10",
        _cifar_out_of_range,
        "test_batch.bin, image 0 has class 10, not 0 to 9",
    ),
    (
        "cifar10",
        _cifar_for_python,
        "data_batch_1.bin, .* not found; it reads the binary version, cifar-10",
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
    (FLOWERS, _flowers_beyond_the_labels, "setid.mat: .*99, .* 9 labels"),
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
        "images.txt, line 14 is short",
    ),
    (
        "birdsnap",
        _append("test_images.txt", "a/b.jpg"),
        "test_images.txt, line 4: a/b.jpg is not in images.txt",
    ),
]


@pytest.mark.parametrize("name, damage, message", DAMAGES)
def test_a_wrong_list_gives_one_line(open_set, name, damage, message):
    damage(open_set(name))
    with pytest.raises((OSError, RuntimeError), match=message) as caught:
        open_set(name)
    assert "\n" not in str(caught.value)


def _pack(root, packed):
    """Cars as they are downloaded: three tars and a file."""
    packed.mkdir()
    for folder in ("cars_train", "devkit"):
        with tarfile.open(packed / f"{folder}.tgz", "w:gz") as archive:
            archive.add(root / folder, folder)
    with zipfile.ZipFile(packed / "cars_test.zip", "w") as archive:
        for file in (root / "cars_test").iterdir():
            archive.write(file, f"cars_test/{file.name}")
    path = archive_cases.cars_list(root, "test")
    (packed / path.name).write_bytes(path.read_bytes())


def test_packed_archives_are_unpacked_and_removed_again(tmp_path, open_set):
    packed, scratch = tmp_path / "packed", tmp_path / "scratch"
    _pack(open_set(CARS), packed)
    with archives.opened(CARS, packed, scratch) as archive:
        images = archive.splits["train"] + archive.splits["test"]
        assert [i.label for i in images] == [195, 0, 0, 1, 1, 195, 1]
        assert all(image.file.is_file() for image in images)
    assert not scratch.exists()
    whole = (packed / "cars_train.tgz").read_bytes()
    (packed / "cars_train.tgz").write_bytes(whole[: len(whole) // 2])
    message = f"{re.escape(str(packed))}/cars_train.tgz cannot be unpacked"
    with pytest.raises(RuntimeError, match=message):
        with archives.opened(CARS, packed, scratch):
            pass
    assert not scratch.exists()


@pytest.mark.parametrize("suffix", ["tgz", "zip"])
def test_an_archive_that_is_damaged_inside_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(97, 105, 100_000, np.uint8)
    (tmp_path / "noise").write_bytes(noise.tobytes())
    packed = tmp_path / "packed"
    packed.mkdir()
    path = packed / f"cars_train.{suffix}"
    if suffix == "tgz":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "noise", "noise")
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / "noise", "noise")
    whole = path.read_bytes()
    for place in range(1_000, len(whole) - 1_000, 2_000):
        broken = b"\xff\x00\xff\x13\x37\x00"
        path.write_bytes(whole[:place] + broken + whole[place + 6 :])
        with pytest.raises((RuntimeError, FileNotFoundError)):
            with archives.opened(CARS, packed, tmp_path / "scratch"):
                pass


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        with archives.opened(CARS, tmp_path / "nowhere", tmp_path / "scratch"):
            pass
