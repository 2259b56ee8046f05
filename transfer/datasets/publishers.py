"""The paper's data sets as published: which image has which label."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from transfer.datasets import annotations

# The publishers' names of files and lists, by TFDS's names of splits.
CARS_TEST = "cars_test_annos_withlabels.mat|cars_test_annos.mat"
BOX_ENDS = ("x1", "y1", "x2", "y2")
FLOWERS_CLASSES = 102
FLOWERS_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}
AIRCRAFT_SPLITS = {"train": "train", "validation": "val", "test": "test"}
BIRDSNAP_TEST = "test_images.txt"
PETS_CLASSES = 37
PETS_SPLITS = {"train": "trainval.txt", "test": "test.txt"}
FOOD_SPLITS = {"train": "train.txt", "validation": "test.txt"}
# The binary version's files, and for each byte before an image's pixels the
# file with the names of its values.
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR100_FILES = {"train": ("train.bin",), "test": ("test.bin",)}
CIFAR10_NAMES = {"label": "batches.meta.txt"}
CIFAR100_NAMES = {
    "coarse_label": "coarse_label_names.txt",
    "label": "fine_label_names.txt",
}


Found = Mapping[str, pathlib.Path]  # Of a format's needs.


@dataclasses.dataclass(frozen=True)
class Image:
    """An annotated image; its file may be missing.

    `pixels`, uint8 [H, W, 3], are given if `file` holds many images. `more` are
    further features by TFDS's names; files among them must exist.
    """

    key: str | int  # As TFDS names the example.
    file: pathlib.Path
    label: int
    box: tuple[float, ...] | None = None  # x1, y1, x2, y2 in pixels.
    md5: str | None = None
    pixels: np.ndarray | None = None
    more: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Archive:
    """What a publisher's lists say: the images and the list of each split."""

    classes: int
    class_names: tuple[str, ...] | None  # None: the publisher gives none.
    splits: dict[str, list[Image]]
    lists: dict[str, pathlib.Path]
    more_names: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )  # Class names of other features.


@dataclasses.dataclass(frozen=True)
class Format:
    """The files and folders of an archive, and what reads them.

    `address` is the publisher's page. `needs` are names; "A|B" means either.
    `read` maps {name: path} to an `Archive`.
    """

    address: str
    needs: tuple[str, ...]
    read: Callable[[Found], Archive]
    version: str | None = None  # None: TFDS knows the set.
    hint: str = ""  # Which of the publisher's downloads.


def read_cars(found: Found) -> Archive:
    """Stanford Cars: MATLAB files of boxes, labels and file names."""
    meta = found["cars_meta.mat"]
    names = [str(n) for n in annotations.load_column(meta, "class_names")]
    annotations.number_names(meta, enumerate(names, start=1), "class")
    lists = {
        "train": found["cars_train_annos.mat"],
        "test": found[CARS_TEST],
    }
    splits: dict[str, list[Image]] = {}
    for split, path in lists.items():
        rows = annotations.load_column(path, "annotations")
        if "class" not in (rows.dtype.names or ()):
            raise RuntimeError(
                f"{path} has no labels; they are in another of the publisher's "
                "files, cars_test_annos_withlabels.mat."
            )
        splits[split] = [
            _read_car(row, found[f"cars_{split}"], len(names), path)
            for row in rows
        ]
    return Archive(len(names), tuple(names), splits, lists)


def _read_car(row, folder, classes, path):
    name = str(annotations.take(row, "fname", str(path)))
    place = f"{path}: {name}"
    label = annotations.take(row, "class", place)
    ends = [annotations.take(row, f"bbox_{end}", place) for end in BOX_ENDS]
    try:
        box = tuple(map(float, ends))
    except (TypeError, ValueError):
        raise RuntimeError(f"{place} has no bounding box.") from None
    return Image(
        name.split(".")[0],
        annotations.join(folder, name, place),
        annotations.parse_label(label, classes, place),
        box,
    )


def read_flowers(found: Found) -> Archive:
    """Oxford Flowers: a label for each image, and lists of their numbers."""
    labels = annotations.load_column(found["imagelabels.mat"], "labels")
    lists = dict.fromkeys(FLOWERS_SPLITS, found["setid.mat"])
    splits: dict[str, list[Image]] = {}
    for split, key in FLOWERS_SPLITS.items():
        splits[split] = []
        for number in annotations.load_column(found["setid.mat"], key):
            # As many images as imagelabels.mat has labels.
            place = f"{found['setid.mat']}: {key} names image"
            number = annotations.parse_number(number, 1, len(labels), place)
            name = f"image_{number:05d}.jpg"
            place = f"{found['imagelabels.mat']}: {name}"
            label = annotations.parse_label(
                labels[number - 1], FLOWERS_CLASSES, place
            )
            splits[split].append(Image(name, found["jpg"] / name, label))
    return Archive(FLOWERS_CLASSES, None, splits, lists)


def read_aircraft(found: Found) -> Archive:
    """FGVC-Aircraft: lists of "NUMBER VARIANT"."""
    variants = found["variants.txt"]
    labels = annotations.number_names(
        variants, annotations.read_lines(variants), "variant"
    )
    lists = {
        split: found[f"images_variant_{key}.txt"]
        for split, key in AIRCRAFT_SPLITS.items()
    }
    splits: dict[str, list[Image]] = {}
    for split, path in lists.items():
        splits[split] = []
        for number, line in annotations.read_lines(path):
            key, _, variant = line.partition(" ")
            place = f"{path}, line {number}"
            label = annotations.look_up(variant, labels, place, variants)
            name = f"{key}.jpg"
            file = annotations.join(found["images"], name, place)
            splits[split].append(Image(name, file, label))
    return Archive(len(labels), tuple(labels), splits, lists)


def read_birdsnap(found: Found) -> Archive:
    """Birdsnap: tables of species and images, and a list of test images."""
    table = found["species.txt"]
    species = list(annotations.read_table(table, ("id", "common")))
    names = annotations.number_names(
        table, ((n, r["common"]) for n, r in species), "class"
    )
    for number, row in species:
        annotations.parse_label(
            row["id"], len(names), f"{table}, line {number}"
        )
    ordered = sorted(species, key=lambda row: int(row[1]["id"]))
    path = found["images.txt"]
    images = {}
    for number, row in annotations.read_table(
        path, ("md5", "path", "species_id")
    ):
        place = f"{path}, line {number}"
        label = annotations.parse_label(row["species_id"], len(names), place)
        images[row["path"]] = Image(
            row["path"],
            annotations.join(found["images"], row["path"], place),
            label,
            md5=row["md5"].lower(),
        )
    test_list = found[BIRDSNAP_TEST]
    tests = {
        row["path"]: n
        for n, row in annotations.read_table(test_list, ("path",))
    }
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


def read_pets(found: Found) -> Archive:
    """Oxford-IIIT Pets: lists of "NAME CLASS SPECIES NUMBER"."""
    lists = {split: found[name] for split, name in PETS_SPLITS.items()}
    splits: dict[str, list[Image]] = {}
    breeds: dict[int, str] = {}
    for split, path in lists.items():
        splits[split] = []
        for number, line in annotations.read_lines(path):
            place = f"{path}, line {number}"
            name, *numbers = line.split()
            if len(numbers) != 3:
                raise RuntimeError(f"{place} does not have 4 words: {line!r}.")
            label = annotations.parse_label(numbers[0], PETS_CLASSES, place)
            breed = name.rpartition("_")[0]
            if breeds.setdefault(label, breed) != breed:
                raise RuntimeError(
                    f"{place}: {name} has the class of {breeds[label]}."
                )
            annotations.join(found["images"], name, place)
            image = Image(
                f"{name}.jpg",
                found["images"] / f"{name}.jpg",
                label,
                annotations.read_box(found["xmls"] / f"{name}.xml"),
                more={
                    "species": annotations.parse_label(
                        numbers[1], 2, f"{place}: species"
                    ),
                    "segmentation_mask": found["trimaps"] / f"{name}.png",
                },
            )
            splits[split].append(image)
    return Archive(len(breeds), None, splits, lists)


def read_food(found: Found) -> Archive:
    """Food-101: lists of "CLASS/NUMBER"."""
    classes = found["classes.txt"]
    labels = annotations.number_names(
        classes, annotations.read_lines(classes), "class"
    )
    lists = {split: found[name] for split, name in FOOD_SPLITS.items()}
    splits: dict[str, list[Image]] = {}
    for split, path in lists.items():
        splits[split] = []
        for number, line in annotations.read_lines(path):
            name = line.partition("/")[0]
            place = f"{path}, line {number}"
            label = annotations.look_up(name, labels, place, classes)
            file = annotations.join(found["images"], f"{line}.jpg", place)
            splits[split].append(Image(line, file, label))
    return Archive(len(labels), None, splits, lists)


def read_cifar10(found: Found) -> Archive:
    """CIFAR-10, binary version: a byte, the class, before each image."""
    return _read_cifar(found, CIFAR10_FILES, CIFAR10_NAMES)


def read_cifar100(found: Found) -> Archive:
    """CIFAR-100, binary version: two bytes, superclass and class."""
    return _read_cifar(found, CIFAR100_FILES, CIFAR100_NAMES)


FORMATS = {
    "cars196": Format(
        "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        (
            "cars_meta.mat",
            "cars_train_annos.mat",
            CARS_TEST,
            "cars_train",
            "cars_test",
        ),
        read_cars,
    ),
    "oxford_flowers102": Format(
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ("imagelabels.mat", "setid.mat", "jpg"),
        read_flowers,
    ),
    "fgvc_aircraft": Format(
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        (
            "variants.txt",
            *(f"images_variant_{key}.txt" for key in AIRCRAFT_SPLITS.values()),
            "images",
        ),
        read_aircraft,
        version="1.0.0",
    ),
    # Version 1.1; its own script downloads the images from their addresses.
    "birdsnap": Format(
        "http://thomasberg.org/",
        ("species.txt", "images.txt", BIRDSNAP_TEST, "images"),
        read_birdsnap,
        version="1.1.0",
    ),
    "oxford_iiit_pet": Format(
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        (*PETS_SPLITS.values(), "images", "trimaps", "xmls"),
        read_pets,
    ),
    "food101": Format(
        "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        ("classes.txt", *FOOD_SPLITS.values(), "images"),
        read_food,
    ),
    "cifar10": Format(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (*itertools.chain(*CIFAR10_FILES.values()), *CIFAR10_NAMES.values()),
        read_cifar10,
        hint="the binary version, cifar-10-binary.tar.gz",
    ),
    "cifar100": Format(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (*itertools.chain(*CIFAR100_FILES.values()), *CIFAR100_NAMES.values()),
        read_cifar100,
        hint="the binary version, cifar-100-binary.tar.gz",
    ),
}


def _read_cifar(found, files, name_files):
    names = {}
    for feature, file in name_files.items():
        lines = annotations.read_lines(found[file])
        labels = annotations.number_names(found[file], lines, "class")
        names[feature] = tuple(labels)
    splits = {
        split: list(_cifar_images(split, [found[name] for name in of], names))
        for split, of in files.items()
    }
    lists = {split: found[of[-1]].parent for split, of in files.items()}
    label_names = names.pop("label")
    return Archive(len(label_names), label_names, splits, lists, names)


def _cifar_images(split, paths, names):
    key = 0
    for path in paths:
        rows = annotations.read_cifar_rows(path, len(names))
        for number, (values, pixels) in enumerate(rows):
            place = f"{path}, image {number}"
            more = {
                feature: annotations.parse_label(
                    value, len(names[feature]), place, first=0
                )
                for feature, value in zip(names, values, strict=True)
            }
            label = more.pop("label")
            more["id"] = f"{split}_{key:05d}"
            yield Image(key, path, label, pixels=pixels, more=more)
            key += 1
