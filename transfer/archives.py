"""The publishers' own archives of four sets: which image has which label."""

import collections
import contextlib
import csv
import dataclasses
import gzip
import pathlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from absl import logging

SUFFIXES = (".tgz", ".tar", ".tar.gz", ".zip")

# The names that the publishers gave, and TFDS's names of the splits.
CARS_TEST = "cars_test_annos_withlabels.mat|cars_test_annos.mat"
BOX_ENDS = ("x1", "y1", "x2", "y2")
FLOWERS_CLASSES = 102
FLOWERS_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}
AIRCRAFT_SPLITS = {"train": "train", "validation": "val", "test": "test"}
BIRDSNAP_TEST = "test_images.txt"

# What a broken archive raises, by where it is broken.
_DAMAGES = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
)


@dataclasses.dataclass(frozen=True)
class Image:
    """An annotated image, which need not be there."""

    key: str  # As TFDS names the example.
    file: pathlib.Path
    label: int
    box: tuple[float, ...] | None = None  # x1, y1, x2, y2 in pixels.
    md5: str | None = None


@dataclasses.dataclass(frozen=True)
class Archive:
    """What a publisher's lists say: {split: images}, {split: its list}."""

    classes: int
    class_names: tuple[str, ...] | None  # None: the publisher gives none.
    splits: dict[str, list[Image]]
    lists: dict[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Format:
    """The files and folders of an archive, and what reads them.

    `needs` are names; "A|B" is whichever of both is there. `read` maps their
    {name: path} to an `Archive`.
    """

    needs: tuple[str, ...]
    read: Callable
    version: str | None = None  # None: TFDS knows the set.


@contextlib.contextmanager
def opened(name, source, scratch):
    """Yields the `Archive` of a set.

    Args:
      name: one of FORMATS.
      source: the folder with what was downloaded, unpacked at any depth, or
        as the archives themselves.
      scratch: a folder, not there yet, for what has to be unpacked; it is
        removed in the end.

    Raises:
      FileNotFoundError: lists or folders are missing.
      RuntimeError: an archive or a list is not as the publisher's.
    """
    source = pathlib.Path(source).expanduser()
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder {source}.")
    needs = FORMATS[name].needs
    found = _find(needs, [source])
    shutil.rmtree(scratch, ignore_errors=True)  # Left by a kill.
    try:
        packed = [
            file
            for file in sorted(source.iterdir())
            if file.name.lower().endswith(SUFFIXES)
        ]
        if packed and set(needs) - set(found):
            _unpack(packed, scratch)
            found = _find(needs, [source, scratch])
        missing = [need for need in needs if need not in found]
        if missing:
            raise FileNotFoundError(
                f"{source} does not hold all of {name}: "
                f"{', '.join(missing).replace('|', ' or ')} not found."
            )
        yield FORMATS[name].read(found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_cars(found):
    """Stanford Cars: MATLAB files of boxes, labels and file names."""
    meta = found["cars_meta.mat"]
    names = [str(n) for n in _column(_load_mat(meta, "class_names"))]
    _check_names(meta, enumerate(names, start=1), "class")
    lists = {
        "train": found["cars_train_annos.mat"],
        "test": found[CARS_TEST],
    }
    splits = {}
    for split, path in lists.items():
        rows = _column(_load_mat(path, "annotations"))
        if "class" not in (rows.dtype.names or ()):
            raise RuntimeError(
                f"{path} has no labels; the publisher has a file of its own "
                "with them, cars_test_annos_withlabels.mat."
            )
        splits[split] = [
            Image(
                str(row["fname"]).split(".")[0],
                found[f"cars_{split}"] / str(row["fname"]),
                _label(row["class"], len(names), f"{path}: {row['fname']}"),
                tuple(float(row[f"bbox_{end}"]) for end in BOX_ENDS),
            )
            for row in rows
        ]
    return Archive(len(names), tuple(names), splits, lists)


def read_flowers(found):
    """Oxford Flowers: a label for each image, and lists of their numbers."""
    labels = _column(_load_mat(found["imagelabels.mat"], "labels"))
    lists = dict.fromkeys(FLOWERS_SPLITS, found["setid.mat"])
    splits = {}
    for split, key in FLOWERS_SPLITS.items():
        splits[split] = []
        for number in _column(_load_mat(found["setid.mat"], key)):
            place = f"{found['setid.mat']}: {key}"
            number = int(number)
            if not 1 <= number <= len(labels):
                raise RuntimeError(
                    f"{place} names image {number}, but imagelabels.mat has "
                    f"{len(labels)} labels."
                )
            name = f"image_{number:05d}.jpg"
            place = f"{found['imagelabels.mat']}: {name}"
            label = _label(labels[number - 1], FLOWERS_CLASSES, place)
            splits[split].append(Image(name, found["jpg"] / name, label))
    return Archive(FLOWERS_CLASSES, None, splits, lists)


def read_aircraft(found):
    """FGVC-Aircraft: lists of "NUMBER VARIANT"."""
    variants = found["variants.txt"]
    labels = _check_names(variants, _lines(variants), "variant")
    lists = {
        split: found[f"images_variant_{key}.txt"]
        for split, key in AIRCRAFT_SPLITS.items()
    }
    splits = {}
    for split, path in lists.items():
        splits[split] = []
        for number, line in _lines(path):
            key, _, variant = line.partition(" ")
            if variant not in labels:
                raise RuntimeError(
                    f"{path}, line {number}: {variant!r} is not one of the "
                    f"{len(labels)} variants of {variants.name}."
                )
            name = f"{key}.jpg"
            image = Image(name, found["images"] / name, labels[variant])
            splits[split].append(image)
    return Archive(len(labels), tuple(labels), splits, lists)


def read_birdsnap(found):
    """Birdsnap: tables of species and images, and a list of the test's."""
    table = found["species.txt"]
    species = list(_table(table, ("id", "common")))
    names = _check_names(table, ((n, r["common"]) for n, r in species), "class")
    for number, row in species:
        _label(row["id"], len(names), f"{table}, line {number}")
    ordered = sorted(species, key=lambda row: int(row[1]["id"]))
    path = found["images.txt"]
    images = {}
    for number, row in _table(path, ("md5", "path", "species_id")):
        place = f"{path}, line {number}"
        label = _label(row["species_id"], len(names), place)
        images[row["path"]] = Image(
            row["path"],
            found["images"] / row["path"],
            label,
            md5=row["md5"].lower(),
        )
    test_list = found[BIRDSNAP_TEST]
    tests = {row["path"]: n for n, row in _table(test_list, ("path",))}
    for name, number in tests.items():
        if name not in images:
            raise RuntimeError(
                f"{test_list}, line {number}: {name} is not in {path.name}."
            )
    splits = {
        "train": [i for key, i in images.items() if key not in tests],
        "test": [images[key] for key in tests],
    }
    lists = {"train": path, "test": test_list}
    class_names = tuple(row["common"] for _, row in ordered)
    return Archive(len(names), class_names, splits, lists)


FORMATS = {
    # https://ai.stanford.edu/~jkrause/cars/car_dataset.html
    "cars196": Format(
        (
            "cars_meta.mat",
            "cars_train_annos.mat",
            CARS_TEST,
            "cars_train",
            "cars_test",
        ),
        read_cars,
    ),
    # https://www.robots.ox.ac.uk/~vgg/data/flowers/102/
    "oxford_flowers102": Format(
        ("imagelabels.mat", "setid.mat", "jpg"), read_flowers
    ),
    # https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/
    "fgvc_aircraft": Format(
        (
            "variants.txt",
            *(f"images_variant_{key}.txt" for key in AIRCRAFT_SPLITS.values()),
            "images",
        ),
        read_aircraft,
        version="1.0.0",
    ),
    # Version 1.1; its own script downloads the images from where they were.
    "birdsnap": Format(
        ("species.txt", "images.txt", BIRDSNAP_TEST, "images"),
        read_birdsnap,
        version="1.1.0",
    ),
}


def _find(needs, roots):
    """Returns {need: path}; what lies less deep comes first."""
    wanted = {name: need for need in needs for name in need.split("|")}
    candidates = collections.defaultdict(list)
    for root in roots:
        # The folders of images are large, but not deep.
        for path in root.rglob("*") if root.is_dir() else ():
            if path.name in wanted:
                candidates[path.name].append(path)
    found = {}
    for name, need in wanted.items():
        if candidates[name] and need not in found:
            found[need] = min(candidates[name], key=lambda p: len(p.parts))
    return found


def _unpack(packed, scratch):
    for file in packed:
        logging.info("Unpacking %s.", file)
        try:
            if file.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(scratch)
            else:
                # Some that end in .tgz are not compressed; this sees it.
                with tarfile.open(file) as archive:
                    archive.extractall(scratch, filter="data")
        except _DAMAGES as error:
            raise RuntimeError(
                f"{file} cannot be unpacked: {error}. Is it complete?"
            ) from None


def _load_mat(path, name):
    import scipy.io

    try:
        variables = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # SciPy raises whatever it trips over.
        raise RuntimeError(f"{path} is not a MATLAB file: {error}.") from None
    if name not in variables:
        raise RuntimeError(f"{path} has no variable {name!r}.")
    return variables[name]


def _column(values):
    # A single row has been squeezed to a scalar.
    return np.atleast_1d(values)


def _lines(path):
    """Returns [(number, text)] of the lines that are not empty."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [(n, line.strip()) for n, line in enumerate(lines, start=1)]
    return [(n, line) for n, line in lines if line]


def _table(path, columns):
    """Yields (line number, row) of a tab-separated table with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [c for c in columns if c not in (reader.fieldnames or ())]
        if missing:
            raise RuntimeError(
                f"{path} has no column {', '.join(missing)} in its first line."
            )
        for row in reader:
            if None in (row[column] for column in columns):
                raise RuntimeError(f"{path}, line {reader.line_num} is short.")
            yield reader.line_num, row


def _check_names(path, names, kind):
    """Returns {name: label} of (line number, name); none may be there twice."""
    labels, lines = {}, {}
    for number, name in names:
        if name in labels:
            raise RuntimeError(
                f"{path}: the {kind} {name!r} is there twice, "
                f"as number {lines[name]} and {number}."
            )
        labels[name], lines[name] = len(labels), number
    return labels


def _label(value, classes, place):
    """Turns a publisher's class, from 1 on, into a label from 0 on."""
    text = str(value)
    if not text.isdecimal() or not 1 <= int(text) <= classes:
        raise RuntimeError(f"{place} has class {text}, not 1 to {classes}.")
    return int(text) - 1
