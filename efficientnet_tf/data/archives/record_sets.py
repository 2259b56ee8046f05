"""TFRecords with an image and a label each, as Kaggle's notebooks have them."""

import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf import message

from efficientnet_tf.data.archives import unpacked
from efficientnet_tf.data.folders import (
    class_name_files,
    folder_names,
    folder_walk,
    layouts,
)
from efficientnet_tf.utils import data_names, files as files_lib

# Usual names of features; two labels in a record are not told apart.
IMAGES = (
    *("image", "image/encoded", "image_raw", "img", "image_bytes", "jpeg"),
    *("encoded", "png", "jpg", "image_jpeg"),
)
LABELS = (
    *("class", "target", "label", "image/class/label", "category", "class_id"),
    *("label_id", "cls"),
)
_NOT_YET = "it takes one class an image"
# What the split of files is called whose names say none.
ONLY = "images"

_FILE = re.compile(
    r".+\.tfrec(ord)?s?(\.gz)?|.+-\d+-of-\d+(\.tfrec(ord)?s?)?", re.IGNORECASE
)
_GZIP = b"\x1f\x8b"
# A Kaggle name's parts: "train00-2071", "ld_train00-1338", "00-224x224-798".
_WORD = re.compile(r"[A-Za-z]+")


def read(path: str | os.PathLike) -> layouts.Layout:
    """Reads a folder of TFRecord files; see `unpacked.unpack`.

    Each record has an image and a label, a number or a text. A file's split is
    in its name or in that of a folder: train*, val*, test*. The names of
    numbered classes may be in a file beside them, see `class_name_files`.

    Raises:
      OSError: there is no such folder, or no such file in it.
      RuntimeError: features or splits that are not told apart, or a damaged
        file.
    """
    root = pathlib.Path(path).expanduser()
    files_lib.check_exists(root)
    found = list_files(root)
    if not found:
        raise FileNotFoundError(
            f"{root} holds no TFRecord files: expected names such as "
            "train-00.tfrec or train.tfrecord."
        )
    splits = _find_splits(root, found)
    names = class_name_files.find(root)
    digest = hashlib.sha256()
    for file in found:
        stat = file.stat()
        state = f"{file}\0{splits[file]}\0{stat.st_size}\0{stat.st_mtime_ns}\0"
        digest.update(os.fsencode(state))
    return unpacked.unpack(
        unpacked.Archive(
            f"{data_names.RECORDS.prefix}{root}",
            f"{data_names.RECORDS.prefix}{os.path.realpath(root)}",
            digest.hexdigest(),
            names,
            sorted({split or ONLY for split in splits.values()}),
            lambda: _read_all(found, splits),
        )
    )


def list_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Returns the TFRecord files below a folder, by their names."""
    return sorted(
        path
        for path in root.rglob("*")
        if _FILE.fullmatch(path.name)
        and path.is_file()
        and not folder_names.is_system(path.name)
    )


def _find_splits(root, found):
    """Returns {file: its split}, all None if no name says one."""
    splits = {}
    for file in found:
        below = file.relative_to(root)
        parts = [*below.parent.parts, file.name.split(".")[0]]
        words = {word for part in parts for word in _WORD.findall(part)}
        own = {
            folder_names.find_splits([word])[word]
            for word in words
            if folder_names.find_splits([word])
        }
        if len(own) > 1:
            raise RuntimeError(
                f"{file} may be of {' or '.join(sorted(own))}; rename it."
            )
        splits[file] = own.pop() if own else None
    _check_one_set(root, splits)
    without = [file for file, split in splits.items() if split is None]
    if without and len(without) < len(found):
        raise RuntimeError(
            f"{root}: {len(without)} of {len(found)} files name no split "
            f"({folder_walk.list_names(f.name for f in without)}), others do; "
            "name all, as in train-00.tfrec, or none."
        )
    return splits


def _check_one_set(root, splits):
    """Raises RuntimeError for a folder of sets, as one a resolution."""
    sets: dict[str, set] = {}
    for file, split in splits.items():
        top, *rest = file.relative_to(root).parts
        if rest and not folder_names.find_splits([top]):
            sets.setdefault(top, set()).add(split)
    several = [name for name, own in sets.items() if len(own) > 1]
    if len(several) > 1:
        raise RuntimeError(
            f"{root} holds several sets, {folder_walk.list_names(several)}, "
            "each with splits of its own; give the path of one."
        )


def _read_all(found, splits) -> Iterator[unpacked.Image]:
    for file in found:
        for number, features in enumerate(_read_file(file)):
            name = f"{file.name}: record {number}"
            image = _find_image(name, features)
            label = _find_label(name, features)
            if label is None and splits[file] in (None, "train"):
                raise RuntimeError(
                    f"{name} has no label among its features "
                    f"({', '.join(sorted(features))}); expected one of "
                    f"{', '.join(LABELS[:4])}, ..."
                )
            yield unpacked.Image(splits[file] or ONLY, label, image, name)


def _read_file(file):
    """Yields {name: its feature} of each record."""
    with file.open("rb") as stream:
        packed = stream.read(len(_GZIP)) == _GZIP
    records = tf.data.TFRecordDataset(str(file), "GZIP" if packed else "")
    number = 0
    try:
        for record in records.as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            yield dict(example.features.feature)
            number += 1
    except tf.errors.OpError:
        raise RuntimeError(
            f"{file} is damaged or cut short after {number} records."
        ) from None
    except message.DecodeError:
        raise RuntimeError(
            f"{file}: record {number} is no tf.train.Example."
        ) from None


def _find_image(name, features):
    known = [key for key in IMAGES if _bytes(features.get(key))]
    if len(known) != 1:
        raise RuntimeError(
            f"{name} has {' and '.join(known) or 'no image'} among its "
            f"features ({', '.join(sorted(features))}); expected one of "
            f"{', '.join(IMAGES[:4])}, ... with an encoded image."
        )
    return _bytes(features[known[0]])


def _find_label(name, features):
    """Returns the label of a record: a number, a text, or None."""
    known = [key for key in LABELS if key in features]
    if len(known) > 1:
        raise RuntimeError(
            f"{name} has {' and '.join(known)}; one of them must be its label."
        )
    if not known:
        return None
    feature = features[known[0]]
    kind = feature.WhichOneof("kind")
    values = getattr(feature, kind).value if kind else ()
    if kind == "float_list" or len(values) > 1:
        what = (
            "a number to predict" if kind == "float_list" else "several labels"
        )
        raise RuntimeError(f"{name}: {known[0]} is {what}; {_NOT_YET}.")
    if not values:
        return None
    if kind == "bytes_list":
        return _decode(name, known[0], values[0])
    return int(values[0])


def _decode(name, key, text):
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RuntimeError(f"{name}: {key} is no text in UTF-8.") from None


def _bytes(feature):
    """Returns the bytes of a feature with one text, or b""."""
    if feature is None or feature.WhichOneof("kind") != "bytes_list":
        return b""
    values = feature.bytes_list.value
    return values[0] if len(values) == 1 else b""
