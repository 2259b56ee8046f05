"""Data sources (TFDS, class folders, arrays) and the datasets made of them."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import shutil

import tensorflow as tf
from absl import logging

from efficientnet_tf import preprocessing

AUTOTUNE = tf.data.AUTOTUNE
SHUFFLE_BUFFER = 10_000

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

# What people call the three splits in a folder.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}

# Of a class's images, where a folder has no such split of its own.
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2

# TFDS's own number makes a machine without network wait for minutes.
DOWNLOAD_RETRIES = 5

# Where the complete sets come from when TFDS cannot download them.
MANUAL = {
    "cars196": "its address is dead; TFDS's page names the archives",
    "imagenet2012": "download the archives from image-net.org yourself",
}


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images of one split, in a fixed order.

    `dataset` yields (image, label): encoded bytes or uint8 [H, W, 3], and an
    int64 scalar. `fingerprint` changes when the images may have changed.
    """

    dataset: tf.data.Dataset
    size: int
    class_names: tuple[str, ...]
    fingerprint: str

    def concatenate(self, other):
        return Examples(
            self.dataset.concatenate(other.dataset),
            self.size + other.size,
            self.class_names,
            f"{self.fingerprint}+{other.fingerprint}",
        )


FOLDER_PREFIX = "folder:"


def load(name, split, data_dir=None):
    """Reads a split of a TFDS name or of "folder:PATH"."""
    if name.startswith(FOLDER_PREFIX):
        return from_folder(name.removeprefix(FOLDER_PREFIX), split)
    return from_tfds(name, split, data_dir)


def from_tfds(name, split, data_dir=None):
    """Reads a split of a TensorFlow data set, downloading it if need be.

    Args:
      name: a TFDS name with the features "image" and "label".
      split: a TFDS split, such as "train[:90%]".
      data_dir: where TFDS keeps its sets; None is TFDS's own default.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: the set is unknown, has no such split, or no labelled images.
      RuntimeError: the set is not there and cannot be downloaded.
    """
    tfds = _import_tfds()
    data_dir = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    builder = _prepared_builder(tfds, name, data_dir)
    try:
        size = builder.info.splits[split].num_examples
    except (KeyError, ValueError):
        raise ValueError(
            f"{name} has no split {split!r}; choose one of "
            f"{', '.join(builder.info.splits)}."
        ) from None
    dataset = builder.as_dataset(
        split=split,
        decoders={"image": tfds.decode.SkipDecoding()},
        shuffle_files=False,
    )
    dataset = dataset.map(lambda row: (row["image"], row["label"]))
    label = builder.info.features["label"]
    names = tuple(label.int2str(i) for i in range(label.num_classes))
    place = f"{builder.data_path}:{split}:{size}"
    return Examples(dataset, size, names, place)


def from_arrays(images, labels, class_names):
    """Wraps uint8 images [N, H, W, 3] and integer labels [N]."""
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    dataset = tf.data.Dataset.from_tensor_slices(
        (images, labels.astype("int64"))
    )
    return Examples(dataset, len(images), tuple(class_names), digest)


def from_folder(path, split, seed=0):
    """Reads a split of a folder of class folders.

    PATH/CLASS/*.jpg is divided in a fixed way, class by class; where
    PATH/train/CLASS/*.jpg exists, splits that are missing beside it
    ("validation" or "val", "test") are taken out of it.

    Raises:
      ValueError: an unknown split.
      FileNotFoundError: there is no such folder.
      RuntimeError: no images, fewer than two classes, an empty class, or
        unreadable files.
    """
    if split not in SPLIT_NAMES:
        raise ValueError(
            f"Unknown split {split!r}; choose one of {', '.join(SPLIT_NAMES)}."
        )
    index, class_names = _index_folder(pathlib.Path(path).expanduser(), seed)
    files = index[split]
    _check_files([file for file, _ in files])
    digest = hashlib.sha256()
    for file, label in files:
        stat = file.stat()
        digest.update(f"{file}{label}{stat.st_size}{stat.st_mtime_ns}".encode())
    dataset = tf.data.Dataset.from_tensor_slices(
        (
            [str(file) for file, _ in files],
            tf.constant([label for _, label in files], tf.int64),
        )
    )
    dataset = dataset.map(
        lambda file, label: (tf.io.read_file(file), label),
        num_parallel_calls=AUTOTUNE,
    )
    return Examples(dataset, len(files), class_names, digest.hexdigest())


def make_train_dataset(
    examples, preprocess, *, batch_size, seed=None, batch_transform=None
):
    """Turns examples into endless shuffled batches.

    `preprocess` maps one image, `batch_transform` one (images, labels).
    """
    # Shuffle while images are small (encoded), and before `repeat`, so that
    # every epoch shows every image once.
    buffer = min(examples.size, SHUFFLE_BUFFER)
    ds = examples.dataset.shuffle(buffer, seed=seed).repeat()
    ds = ds.map(
        lambda image, label: (preprocess(image), label),
        num_parallel_calls=AUTOTUNE,
    )
    ds = ds.batch(batch_size, drop_remainder=True)
    if batch_transform is not None:
        ds = ds.map(batch_transform, num_parallel_calls=AUTOTUNE)
    return ds.prefetch(AUTOTUNE)


def make_eval_dataset(examples, preprocess, *, batch_size):
    """One ordered pass; the last batch may be short, so no image is skipped."""
    ds = examples.dataset.map(
        lambda image, label: (preprocess(image), label),
        num_parallel_calls=AUTOTUNE,
    )
    ds = ds.batch(batch_size)
    ds = ds.apply(
        tf.data.experimental.assert_cardinality(-(-examples.size // batch_size))
    )
    return ds.prefetch(AUTOTUNE)


def _import_tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Named data sets need tensorflow-datasets: pip install "
            f"'efficientnet-tf[transfer]' ({error})."
        ) from None
    return tfds


def _prepared_builder(tfds, name, data_dir):
    from tensorflow_datasets.core.download import downloader

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(f"TFDS knows no data set {name!r}.") from None
    missing = {"image", "label"} - set(builder.info.features or ())
    if missing:
        raise ValueError(
            f"{name} has no feature {min(missing)!r}; choose a data set of "
            "labelled images."
        )
    if pathlib.Path(builder.data_path).exists():
        return builder
    logging.info("%s is not in %s; downloading it.", name, builder.data_path)
    root = pathlib.Path(builder.data_dir_root)
    downloads = root / "downloads"
    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    try:
        builder.download_and_prepare(download_dir=downloads)
    except Exception as error:  # TFDS raises whatever its data sets raise.
        _remove_partial(downloads, root / name)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        hint = f" ({MANUAL[name]})" if name in MANUAL else ""
        raise RuntimeError(
            f"{name} is not in {builder.data_path} and cannot be downloaded"
            f"{hint}: {reason[0][:200]} Prepare it with TFDS on a machine "
            "that can and pass its folder as data_dir; see "
            f"https://www.tensorflow.org/datasets/catalog/{name}."
        ) from None
    return builder


def _remove_partial(downloads, prepared):
    """Removes what a broken-off download left; what is complete stays."""
    for path in downloads.rglob("*.tmp.*"):
        shutil.rmtree(path, ignore_errors=True)
    for top in (downloads, prepared):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # It is not empty.
                os.rmdir(folder)


def _index_folder(root, seed):
    """Returns ({split: [(file, label)]}, class names)."""
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    found = {
        split: next((root / n for n in names if (root / n).is_dir()), None)
        for split, names in SPLIT_NAMES.items()
    }
    if found["train"] is None:
        found = {"train": root, "validation": None, "test": None}
    listed = {
        split: _list_classes(folder)
        for split, folder in found.items()
        if folder is not None
    }
    class_names = tuple(sorted(listed["train"]))
    for split, classes in listed.items():
        if tuple(sorted(classes)) != class_names:
            odd = sorted(set(classes) ^ set(class_names))
            raise RuntimeError(
                f"{root}: {split} and train differ in the class folders "
                f"{', '.join(odd[:5])}."
            )
    index = {split: [] for split in SPLIT_NAMES}
    for label, name in enumerate(class_names):
        groups = {split: listed[split][name] for split in listed}
        for split, files in _carve(root, name, groups, seed).items():
            index[split] += [(file, label) for file in files]
    return index, class_names


def _list_classes(folder):
    """Returns {class name: its image files}, sorted."""
    classes = {
        child.name: sorted(
            file for file in child.rglob("*") if file.suffix.lower() in SUFFIXES
        )
        for child in folder.iterdir()
        if child.is_dir() and not child.name.startswith(".")
    }
    if not any(classes.values()):
        raise RuntimeError(
            f"{folder} holds no images: expected {folder}/CLASS/IMAGE.jpg, "
            f"one folder a class, in {preprocessing.FORMATS}."
        )
    for name, files in classes.items():
        if not files:
            raise RuntimeError(f"The class folder {folder / name} is empty.")
    if len(classes) < 2:
        raise RuntimeError(
            f"{folder} holds one class, {next(iter(classes))!r}; "
            "classification needs at least two class folders."
        )
    return classes


def _carve(root, name, groups, seed):
    """Takes missing splits out of one class's training files."""
    groups = dict(groups)
    shares = {"validation": VALIDATION_SHARE, "test": TEST_SHARE}
    missing = [split for split in shares if split not in groups]
    train = list(groups["train"])
    if len(train) <= len(missing):
        raise RuntimeError(
            f"Class {name!r} in {root} has {len(train)} images; at least "
            f"{len(missing) + 1} are needed to divide it."
        )
    total = len(train)
    random.Random(f"{seed}{name}").shuffle(train)
    for split in missing:
        count = max(1, round(shares[split] * total))
        groups[split], train = sorted(train[:count]), train[count:]
    groups["train"] = sorted(train)
    return groups


def _check_files(files):
    """Raises one line that names files which will not decode."""
    bad = []
    for file in files:
        if not _looks_whole(file):
            # Only then is a full decode worth its time.
            try:
                preprocessing.read_image(file)
            except OSError as error:
                bad.append(str(error))
    if bad:
        raise RuntimeError(
            f"{len(bad)} of {len(files)} images cannot be read; remove or "
            f"replace them: {' '.join(bad[:3])}"
        )


def _looks_whole(file):
    """Whether a file begins and ends like a JPEG or PNG."""
    with file.open("rb") as stream:
        head = stream.read(8)
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 12))
        tail = stream.read()
    if head.startswith(b"\xff\xd8"):
        return tail.endswith(b"\xff\xd9")
    return head.startswith(b"\x89PNG") and b"IEND" in tail
