"""Writes a publisher's archive as a TFDS set, or reports what is missing."""

import collections
import contextlib
import hashlib
import io
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping

import tqdm
from absl import logging

from efficientnet_tf.data.sets import damaged_files
from efficientnet_tf.utils import files
from transfer.config import tasks
from transfer.datasets import archives, publishers

# Features that TFDS stores as shares of the image's sides.
BOXES = {"bbox", "head_bbox"}


def prepare(
    name: str,
    source: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    allow_partial: bool = False,
) -> dict[str, int]:
    """Writes the data set DATA_DIR/name/version, complete or not at all.

    If it is there already, the source is not read.

    Args:
      name: one of `publishers.FORMATS`.
      source: the folder with the publisher's archive, packed or unpacked.
      data_dir: where TFDS keeps its sets.
      allow_partial: whether to write what there is of a partial copy.

    Returns:
      {split: number of images}.

    Raises:
      ValueError: the data set cannot be read from archives.
      OSError, RuntimeError: a wrong or partial copy; nothing is written.
    """
    if name not in publishers.FORMATS:
        raise ValueError(
            f"{name!r} is not read from archives; choose one of "
            f"{', '.join(publishers.FORMATS)}, or leave --source out."
        )
    task, root = tasks.TASKS[name], pathlib.Path(data_dir).expanduser()
    if _is_written(name, root):
        return _sizes_there(name, task, root, allow_partial)
    files.check_folder(root)
    scratch = root / f"{files.PREFIX}{name}"
    with archives.opened(name, source, scratch) as archive:
        _check(name, task, archive, allow_partial)
        kept = _select(name, archive, allow_partial)
        return _write(name, archive, kept, root, scratch)


def count(sizes: Mapping[str, int], test: str = "test") -> tuple[int, int]:
    """Returns (training, test) images; all splits but `test` are training."""
    return sum(sizes.values()) - sizes[test], sizes[test]


def _is_written(name, root):
    """Whether the set is there, in the version that would be written."""
    return (root / name / _version(name) / "dataset_info.json").exists()


def _version(name):
    import tensorflow_datasets as tfds

    return publishers.FORMATS[name].version or str(
        tfds.builder_cls(name).VERSION
    )


def _sizes_there(name, task, root, allow_partial):
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=root)
    splits = builder.info.splits.items()
    sizes = {split: info.num_examples for split, info in splits}
    logging.info("%s exists already; nothing is written.", builder.data_path)
    expected = (task.train_images, task.test_images)
    counted = count(sizes, task.test)
    if counted != expected and not allow_partial:
        raise RuntimeError(
            f"{builder.data_path} holds {_both(counted)}; the complete "
            f"set has {_both(expected)}. Delete it to write it again."
        )
    return sizes


def _check(name, task, archive, allow_partial):
    """Compares what the lists say with Table 6 of the paper."""
    if archive.classes != task.classes:
        raise RuntimeError(
            f"{name} has {task.classes} classes, but its lists name "
            f"{archive.classes}."
        )
    places = {}
    for split, images in archive.splits.items():
        for image in images:
            # Not by key alone: Cars has the same keys in training and test.
            place = image.file, image.key
            if place in places:
                raise RuntimeError(
                    f"{archive.lists[split]}: {image.key} is there twice, in "
                    f"{places[place]} and in {split}."
                )
            places[place] = split
    sizes = {split: len(images) for split, images in archive.splits.items()}
    expected = (task.train_images, task.test_images)
    counted = count(sizes, task.test)
    if counted != expected and not allow_partial:
        names = ", ".join(
            dict.fromkeys(path.name for path in archive.lists.values())
        )
        raise RuntimeError(
            f"{names} list {_both(counted)}; {name} has {_both(expected)} "
            "(Table 6). --allow_partial writes what there is."
        )


def _select(name, archive, allow_partial):
    """Returns {split: images that are there and can be read}."""
    kept, lines = {}, []
    unreadable = _find_unreadable(archive)
    for split, images in archive.splits.items():
        kept[split], bad = [], collections.defaultdict(list)
        for image in tqdm.tqdm(images, f"Checking {split}", disable=None):
            fault = _fault(image, unreadable)
            (bad[fault] if fault else kept[split]).append(image)
        lines += [
            f"{len(group):,} of {len(images):,} {split} images {fault}, such "
            f"as {group[0].file}"
            for fault, group in bad.items()
        ]
        if images and not kept[split]:
            raise RuntimeError(f"{name} is a partial copy: {lines[-1]}.")
    if lines and not allow_partial:
        raise RuntimeError(
            f"{name} is a partial copy: {'; '.join(lines)}. --allow_partial "
            "writes the other images."
        )
    for line in lines:
        logging.warning("%s: %s.", name, line)
    return kept


def _find_unreadable(archive):
    """Returns the files that are there and cannot be read."""
    folders = collections.defaultdict(dict)
    for images in archive.splits.values():
        for image in images:
            if image.pixels is None and image.file.is_file():
                folders[image.file.parent][image.file] = None
    unreadable = set()
    # By folder, since each call loads and writes the folder's cache.
    for folder, paths in folders.items():
        _, bad = damaged_files.examine(folder, paths)
        unreadable |= bad.keys()
    return unreadable


def _fault(image, unreadable):
    """Returns why an image cannot be used; None if it can."""
    if image.pixels is not None:
        return None
    if not image.file.is_file():
        return "are missing"
    for part in image.more.values():
        if isinstance(part, pathlib.Path) and not part.is_file():
            return f"lack their file in {part.parent.name}"
    if image.md5 is not None:
        # For a dead address a server may have sent a placeholder image.
        digest = hashlib.md5(image.file.read_bytes(), usedforsecurity=False)
        if digest.hexdigest() != image.md5:
            return "differ from the publisher's md5"
    return "cannot be read" if image.file in unreadable else None


def _write(name, archive, kept, root, scratch):
    import tensorflow_datasets as tfds

    if publishers.FORMATS[name].version is None:
        features = tfds.builder(name, data_dir=root).info.features
        _name_classes(features, archive)
    else:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=archive.class_names),
                "file_name": tfds.features.Text(),
            }
        )
    for left in (root / name).glob("incomplete.*"):  # Of a killed process.
        shutil.rmtree(left)
    builder = tfds.dataset_builders.AdhocBuilder(
        name=name,
        version=_version(name),
        features=features,
        split_datasets={
            split: _examples(images, features) for split, images in kept.items()
        },
        data_dir=root,
        description=f"{name}, from its publisher's archive.",
    )
    config = tfds.download.DownloadConfig(
        compute_stats=tfds.download.ComputeStatsMode.SKIP,
        try_download_gcs=False,
    )
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    # TFDS prints that it downloads, which it does not.
    with contextlib.redirect_stdout(io.StringIO()):
        # Atomic: TFDS writes to a folder beside it, and renames that.
        builder.download_and_prepare(
            download_dir=scratch, download_config=config
        )
    logging.info("Wrote %s.", builder.data_path)
    return {split: len(images) for split, images in kept.items()}


def _name_classes(features, archive):
    """Names classes that TFDS knows only by their numbers."""
    for feature, names in {
        "label": archive.class_names,
        **archive.more_names,
    }.items():
        numbers = [str(i) for i in range(features[feature].num_classes)]
        if names and features[feature].names == numbers:
            features[feature].names = names


def _examples(images, features):
    """Yields (key, example); TFDS shuffles by the keys."""
    for image in images:
        row = {
            "image": str(image.file) if image.pixels is None else image.pixels,
            "label": image.label,
            "id": image.key,
            "file_name": image.key,
            **image.more,
        }
        for name in BOXES & features.keys():
            row[name] = _relative_box(image)
        yield image.key, {name: row[name] for name in features}


def _relative_box(image):
    import tensorflow_datasets as tfds
    from PIL import Image

    if image.box is None:
        return tfds.features.BBox(0.0, 0.0, 0.0, 0.0)
    with Image.open(image.file) as picture:
        width, height = picture.size
    x1, y1, x2, y2 = image.box
    ends = (y1 / height, x1 / width, y2 / height, x2 / width)
    # Some boxes reach past the image's edge.
    return tfds.features.BBox(*(min(max(end, 0.0), 1.0) for end in ends))


def _both(counts):
    return f"{counts[0]:,} training and {counts[1]:,} test images"
