import collections
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data.folders import folder_names
from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import sources

COUNTS = {"ant": 10, "bee": 20, "cat": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("flat"), COUNTS)


def _ids(examples):
    """Returns (label, image number) pairs; the number is the first pixel."""
    ids = []
    for image, label in examples.dataset:
        number, written, _ = decoding.decode(image)[0, 0].numpy()
        assert written == label.numpy()
        ids.append((int(written), int(number)))
    return ids


# By the hashes of the names, which no version may change: about 10 % and 20 %,
# at least one each.
SIZES = {"validation": [1, 2, 1], "test": [5, 3, 1], "train": [4, 15, 3]}


def test_a_folder_is_divided_class_by_class(folder):
    assert set(SIZES) == set(folder_names.SPLITS)
    for split, sizes in SIZES.items():
        examples = sources.load(f"folder:{folder}", split)
        labels = collections.Counter(label for label, _ in _ids(examples))
        assert [labels[i] for i in range(3)] == sizes
        assert examples.size == sum(sizes)
        assert examples.class_names == ("ant", "bee", "cat")


def test_the_splits_share_no_image_and_leave_none_out(folder):
    ids = [
        i
        for split in SIZES
        for i in _ids(sources.load(f"folder:{folder}", split))
    ]
    assert len(ids) == len(set(ids)) == sum(COUNTS.values())


def test_the_division_stays_when_read_again_or_moved(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    for split in SIZES:
        first = sources.load(f"folder:{folder}", split)
        again = sources.load(f"folder:{folder}", split)
        assert (
            _ids(first)
            == _ids(again)
            == _ids(sources.load(f"folder:{moved}", split))
        )
        assert first.fingerprint == again.fingerprint


def test_the_fingerprint_follows_the_files(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    prints = {
        split: sources.load(f"folder:{copy}", split).fingerprint
        for split in SIZES
    }
    assert len(set(prints.values())) == 3
    for file in copy.rglob("*.png"):
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    for split, before in prints.items():
        assert sources.load(f"folder:{copy}", split).fingerprint != before


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing")]
)
def test_a_folder_with_its_own_splits_keeps_them(tmp_path, make_folder, names):
    for name, count in zip(names, (4, 3, 2), strict=True):
        make_folder(tmp_path / name, {"a": count, "b": count})
    sizes = [
        sources.load(f"folder:{tmp_path}", s).size for s in folder_names.SPLITS
    ]
    assert sizes == [8, 6, 4]


def test_a_missing_split_is_taken_out_of_train_alone(tmp_path, make_folder):
    make_folder(tmp_path / "train", {"a": 10, "b": 10})
    make_folder(tmp_path / "test", {"a": 3, "b": 3})
    parts = {
        s: sources.load(f"folder:{tmp_path}", s) for s in folder_names.SPLITS
    }
    assert {s: part.size for s, part in parts.items()} == {
        "train": 18,
        "validation": 2,
        "test": 6,
    }
    assert not set(_ids(parts["train"])) & set(_ids(parts["validation"]))


def _remove_all(folder):
    for file in folder.rglob("*.png"):
        file.unlink()


def _text(folder):
    (folder / "bee" / "003.png").write_text("words")


def _zero(folder):
    (folder / "bee" / "003.png").write_bytes(b"")


def _cut(folder):
    # In every split, wherever the file landed, it is named.
    for file in (folder / "ant").glob("*.png"):
        file.write_bytes(file.read_bytes()[:-30])


BAD_FOLDERS = {
    "one class": (
        lambda p: [shutil.rmtree(p / c) for c in ("ant", "bee")],
        "holds one class, 'cat'",
    ),
    "no images": (_remove_all, "holds no images: expected .*/CLASS/IMAGE.jpg"),
    "no classes": (
        lambda p: [shutil.rmtree(p / c) for c in COUNTS],
        "holds no images",
    ),
    "too few": (
        lambda p: [f.unlink() for f in sorted((p / "cat").iterdir())[2:]],
        "Class 'cat' .* has 2 images; at least 3 are needed to cut test and",
    ),
    "text": (_text, "1 of .* cannot be read; .*bee/003.png is not an image"),
    "zero bytes": (_zero, "1 of .*bee/003.png is empty"),
    "cut short": (
        _cut,
        "cannot be read; .*ant/.*png is a damaged or truncated",
    ),
}


@pytest.mark.parametrize(
    "damage,message", BAD_FOLDERS.values(), ids=BAD_FOLDERS
)
def test_a_bad_folder_gives_one_line(folder, tmp_path, damage, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(RuntimeError, match=message) as caught:
        for split in SIZES:
            sources.load(f"folder:{copy}", split)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_unknown_split_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        sources.load(f"folder:{tmp_path / 'nowhere'}", "train")
    choices = "'dev'; choose one of train, validation, test, all"
    with pytest.raises(ValueError, match=choices):
        sources.load(f"folder:{folder}", "dev")


def test_splits_with_other_classes_are_refused(tmp_path, make_folder):
    make_folder(tmp_path / "train", {"a": 4, "b": 4})
    make_folder(tmp_path / "test", {"a": 4, "c": 4})
    message = (
        f"{tmp_path}: test and train differ in their classes: 1 only in "
        r"test \('c'\), 1 only in train \('b'\)\."
    )
    with pytest.raises(RuntimeError, match=message):
        sources.load(f"folder:{tmp_path}", "train")


def test_a_class_that_is_spelled_in_two_ways_is_refused(tmp_path, make_folder):
    # The same letter as one code point and as two.
    make_folder(tmp_path, {"caf\u00e9": 4, "cafe\u0301": 4, "bar": 4})
    with pytest.raises(
        RuntimeError, match="'caf\u00e9' twice: .*u0301"
    ) as caught:
        sources.load(f"folder:{tmp_path}", "train")
    assert str(tmp_path) in str(caught.value)


# Labels, class names, what the line says.
BAD_LABELS = [
    ([0, 2, 1], "ab", "Image 1 has label 2; 2 classes have labels 0 to 1"),
    ([0, 1, -1], "ab", "Image 2 has label -1"),
    ([0, 1, 2], "aba", "The class name 'a' appears twice"),
]


@pytest.mark.parametrize("labels, names, message", BAD_LABELS)
def test_labels_and_names_that_do_not_fit_are_named(labels, names, message):
    images = np.zeros((3, 1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        sources.from_arrays(images, np.array(labels), names)


def test_a_name_decides_where_data_come_from(folder):
    assert sources.load(f"folder:{folder}", "test").size == 9


def test_a_photograph_is_turned_as_its_tag_says(tmp_path, make_folder):
    folder = make_folder(tmp_path, {"a": 3, "b": 3})
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned to the right by a quarter.
    file = folder / "a" / "photo.jpg"
    Image.fromarray(pixels).save(file, exif=exif, quality=95)
    splits = sources.from_folder_splits(folder).values()
    images = [image for part in splits for image, _ in part.dataset]
    turned = [
        decoding.decode(image)
        for image in images
        if decoding.decode(image).shape[0] == 32
    ]
    assert len(turned) == 1
    assert turned[0][:16].numpy().max() < 20
    assert turned[0][16:].numpy().min() > 235


def test_the_fingerprint_of_arrays_follows_images_and_labels():
    images, labels = np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1])
    prints = {
        sources.from_arrays(images, labels, "ab").fingerprint,
        sources.from_arrays(images + np.uint8(1), labels, "ab").fingerprint,
        sources.from_arrays(images, labels[::-1], "ab").fingerprint,
    }
    assert len(prints) == 3
