"""The data sets of the paper's transfer tables, and others, as rows."""

import dataclasses
import os
import pathlib
import typing
from collections.abc import Sequence

import numpy as np

from efficientnet_tf.data import shapes
from efficientnet_tf.utils import (
    configs,
    data_names,
    extras,
    folder_options,
    targets,
)
from transfer.config import published as published_lib

if typing.TYPE_CHECKING:
    from efficientnet_tf.data import examples as examples_lib
    from efficientnet_tf.data.folders import layouts

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set, its splits, and how it is scored.

    `published` is the best EfficientNet accuracy (in [0, 1]) of the paper,
    `train_images` and `test_images` are the sizes of the complete set.
    """

    # "tfds"; "digits"; "folder": not one that TFDS knows; "named": one of
    # `data_names.FORMS`.
    source: str
    dataset: str
    classes: int | None  # None: whatever the data hold.
    metric: str = "top1"
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    train_images: int | None = None
    test_images: int | None = None
    published: float | None = None
    published_model: str | None = None
    flip: bool = True  # Whether a mirror image keeps its class.
    # See `shapes.RESIZES`. "squash" where objects reach the edges.
    resize: str = shapes.CROP

    @property
    def divides(self) -> bool:
        """Whether its images are divided here, rather than by its publisher."""
        return self.source in ("named", "folder")

    def is_complete(self, train_images: int, test_images: int) -> bool | None:
        """Whether these are as many as the paper's; None: it has no such set.

        Args:
          train_images: how many, validation images included.
          test_images: how many.
        """
        if self.train_images is None:
            return None
        sizes = self.train_images, self.test_images
        return (train_images, test_images) == sizes


def _carved(dataset, classes, sizes, share=90, **fields):
    """A TFDS set without a validation split: the end of train serves as one."""
    return _tfds(
        dataset,
        classes,
        sizes,
        train=f"train[:{share}%]",
        validation=f"train[{share}%:]",
        **fields,
    )


def _tfds(dataset, classes, sizes, **fields):
    return Task("tfds", dataset, classes, **fields, **_paper(dataset, sizes))


def _folder(dataset, classes, sizes, **fields):
    return Task("folder", dataset, classes, **fields, **_paper(dataset, sizes))


def _paper(dataset, sizes):
    best = published_lib.BEST_REPORTED[dataset]
    return {
        "train_images": sizes[0],
        "test_images": sizes[1],
        "published": best.accuracy,
        "published_model": best.model,
    }


# Sizes: Table 6 of https://arxiv.org/abs/1905.11946. Metrics: Kornblith et
# al., 2019, table 1.
TASKS = {
    "cifar10": _carved("cifar10", 10, (50_000, 10_000)),
    "cifar100": _carved("cifar100", 100, (50_000, 10_000)),
    "birdsnap": _folder(
        "birdsnap",
        500,
        (47_386, 2_443),
        train="train[:90%]",
        validation="train[90%:]",
    ),
    "cars196": _carved(
        "cars196", 196, (8_144, 8_041), share=80, resize=shapes.SQUASH
    ),
    "oxford_flowers102": _tfds(
        "oxford_flowers102", 102, (2_040, 6_149), metric="mean_per_class"
    ),
    "fgvc_aircraft": _folder(
        "fgvc_aircraft", 100, (6_667, 3_333), metric="mean_per_class"
    ),
    # Table 6 prints 3,369 test images; the publishers' list has 3,669.
    "oxford_iiit_pet": _carved(
        "oxford_iiit_pet", 37, (3_680, 3_669), metric="mean_per_class"
    ),
    # TFDS calls Food-101's test images "validation".
    "food101": _carved("food101", 101, (75_750, 25_250), test="validation"),
    # scikit-learn's handwritten digits: 8 x 8 pixels, no download.
    "digits": Task("digits", "digits", 10, flip=False),
}


def get_task(name: str) -> Task:
    """Returns the row of a name, or a new one for "folder:PATH" and the like.

    Raises:
      ValueError: the name is neither.
    """
    if data_names.find_kind(name) is not None:
        return Task("named", name, None)
    if name not in TASKS:
        configs.refuse_path("task", name)
        raise ValueError(
            configs.unknown("task", name, TASKS, otherwise=data_names.FORMS)
        )
    return TASKS[name]


def load_examples(
    task: Task,
    data_dir: str | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
    kinds: Sequence[str] = (targets.CLASS,),
) -> dict[str, "examples_lib.Examples"]:
    """Returns {split: its examples} of train, validation and test.

    Args:
      task: a row.
      data_dir: where TFDS keeps its sets; None: its default.
      options: of images that are divided here.
      kinds: what images may have, some of `targets.KINDS`.

    Raises:
      FileNotFoundError: the folder of the data does not exist.
      RuntimeError: the data are not there, are too few for the splits, or do
        not have as many classes as the row.
    """
    # Here, because TensorFlow is slow to import and names are checked first.
    from efficientnet_tf.data.archives import tfds
    from efficientnet_tf.data.sets import sources

    if task.source == "digits":
        return _load_digits()
    if reads_files(task, data_dir):
        name = _name_files(task, data_dir)
        if sources.is_imagenet(name):
            raise RuntimeError(
                f"{name} has ImageNet's layout, without test images; use "
                "`efficientnet train`."
            )
        loaded = sources.load_splits(name, SPLITS, data_dir, options, kinds)
    else:
        loaded = {
            split: tfds.load(task.dataset, getattr(task, split), data_dir)
            for split in SPLITS
        }
    found = len(loaded["train"].class_names)
    if task.classes not in (None, found):
        raise RuntimeError(
            f"{task.dataset} has {task.classes} classes, but the data have "
            f"{found}."
        )
    for split, examples in loaded.items():
        if not examples.size:
            raise RuntimeError(
                f"{task.dataset} is too small: {getattr(task, split)!r} has no "
                f"images, so there are none for {split}."
            )
    return loaded


def reads_files(task: Task, data_dir: str | None) -> bool:
    """Whether a task's images are read as files, and divided here."""
    if task.source == "named":
        return True
    return task.source == "folder" and not is_prepared(task.dataset, data_dir)


def list_class_names(
    task: Task, data_dir: str | None
) -> tuple[str, ...] | None:
    """Returns a task's classes before its images are read; None: not known."""
    from efficientnet_tf.data.sets import sources

    if not reads_files(task, data_dir):
        return None
    if sources.is_imagenet(_name_files(task, data_dir)):
        return None
    return read_layout(task, data_dir).class_names


def read_layout(
    task: Task,
    data_dir: str | None,
    options: folder_options.Options = folder_options.DEFAULT,
) -> "layouts.Layout":
    """Returns the splits, classes and files of a task that `reads_files`.

    Raises: see `readers.read`.
    """
    from efficientnet_tf.data.sets import readers

    return readers.read(_name_files(task, data_dir), data_dir, options)


def warn_of_changes(
    task: Task,
    data_dir: str | None,
    workdir: str | os.PathLike,
    options: folder_options.Options = folder_options.DEFAULT,
) -> None:
    """Says what changed in a task's files since a finished run."""
    from efficientnet_tf.data.sets import sources

    if reads_files(task, data_dir):
        name = _name_files(task, data_dir)
        sources.warn_of_changes(name, workdir, data_dir, options)


def _name_files(task, data_dir):
    """Returns the data set that a task reads its files from."""
    if task.source == "named":
        return task.dataset
    return f"{data_names.FOLDER.prefix}{_folder_of(task, data_dir)}"


def is_prepared(dataset: str, data_dir: str | None) -> bool:
    """Whether a folder of TFDS sets holds one of this name."""
    folder = _folder_of_sets(data_dir) / dataset
    # Not "incomplete.*", which a killed download leaves.
    return any(folder.glob("[0-9]*/dataset_info.json"))


def _folder_of_sets(data_dir):
    """Returns where TFDS keeps its sets, by TFDS's own rules."""
    found = data_dir or os.environ.get("TFDS_DATA_DIR")
    return pathlib.Path(found or "~/tensorflow_datasets").expanduser()


def _folder_of(task, data_dir):
    path = _folder_of_sets(data_dir) / task.dataset
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path}: TFDS does not have {task.dataset}, so "
            f"provide class folders, {path}/train/CLASS/IMAGE.jpg and "
            f"{path}/test/CLASS/IMAGE.jpg, or write it by `efficientnet "
            f"prepare --task={task.dataset} --source=DIR`."
        )
    return path


def _load_digits():
    extras.require("The digits", "sklearn")
    from sklearn import datasets

    from efficientnet_tf.data.sets import sources

    digits = datasets.load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype("uint8")
    images = np.repeat(pixels[..., None], 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    # 70 %, 10 % and 20 % of 1,797.
    parts = np.split(order, [1_257, 1_437])
    names = [str(name) for name in digits.target_names]
    return {
        split: sources.from_arrays(images[part], digits.target[part], names)
        for split, part in zip(SPLITS, parts, strict=True)
    }
