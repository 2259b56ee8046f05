"""Sets of Hugging Face's `datasets`: from the hub, or a folder: "hf:NAME"."""

import logging
import os
import pathlib
import sys
import textwrap
from typing import Any

from efficientnet_tf.data.archives import unpacked
from efficientnet_tf.data.folders import layouts
from efficientnet_tf.utils import data_names, extras

# Of labels that are text or numbers; a ClassLabel may have any name.
_LABELS = ("label", "labels", "class", "target", "category")
_NOT_YET = "it takes one class an image"


def read(name: str) -> layouts.Layout:
    """Reads a set as files; see `unpacked.unpack`.

    Args:
      name: USER/NAME of the hub, or a folder: of class folders or Parquet
        files, or one of `save_to_disk`.

    Raises:
      ImportError: datasets is not installed.
      RuntimeError: the set cannot be had, or has no images with one class each.
    """
    extras.require("Data sets named hf:...", "datasets")
    path = pathlib.Path(name).expanduser()
    place = os.path.realpath(path) if path.is_dir() else name
    splits = _load(name, path)
    features = next(iter(splits.values())).features
    image, label = _find_features(name, features)
    names = getattr(features[label], "names", None)
    prints = {
        split: getattr(rows, "_fingerprint", "")
        for split, rows in splits.items()
    }
    sizes = {split: len(rows) for split, rows in splits.items()}
    return unpacked.unpack(
        unpacked.Archive(
            f"{data_names.HF.prefix}{name}",
            f"{data_names.HF.prefix}{place}",
            f"{prints}:{sizes}:{image}:{label}",
            names,
            list(splits),
            lambda: _read_all(splits, image, label),
            sum(sizes.values()),
        )
    )


def _load(name, path) -> dict[str, Any]:
    """Returns {split: its rows}."""
    for library in ("datasets", "huggingface_hub"):
        # They tell of each retry; that it failed is an error of its own.
        logging.getLogger(library).setLevel(logging.ERROR)
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        if (path / "dataset_dict.json").exists() or (
            path / "state.json"
        ).exists():
            found = datasets.load_from_disk(str(path))
        elif path.is_dir():
            found = datasets.load_dataset(str(path))
        else:
            found = datasets.load_dataset(name)
    # The library and the network beneath it raise some dozen kinds.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise RuntimeError(
            f"{data_names.HF.prefix}{name} cannot be read: "
            f"{textwrap.shorten(reason[0], 200)}"
        ) from None
    if isinstance(found, datasets.Dataset):  # Saved without splits.
        return {"train": found}
    return dict(found)


def _find_features(name, features):
    """Returns the names of the columns of the image and of its class."""
    import datasets

    seen = ", ".join(f"{n} ({_describe(f)})" for n, f in features.items())
    images = [n for n, f in features.items() if isinstance(f, datasets.Image)]
    labels = [
        n for n, f in features.items() if isinstance(f, datasets.ClassLabel)
    ]
    if not labels:
        labels = [
            n
            for n, f in features.items()
            if n.lower() in _LABELS
            and _describe(f) in ("string", "large_string", "int64", "int32")
        ]
    for what, found, usual in (
        ("images", images, "image"),
        ("classes", labels, "label"),
    ):
        if len(found) != 1 and usual not in found:
            raise RuntimeError(
                f"{data_names.HF.prefix}{name} has {len(found)} columns of "
                f"{what}; {_NOT_YET}. Its columns are {seen}."
            )
    return (
        "image" if "image" in images else images[0],
        "label" if "label" in labels else labels[0],
    )


def _describe(feature):
    return getattr(feature, "dtype", None) or type(feature).__name__


def _read_all(splits, image, label):
    import datasets

    for split, rows in splits.items():
        rows = rows.select_columns([image, label])
        rows = rows.cast_column(image, datasets.Image(decode=False))
        for number, row in enumerate(rows):
            found = row[image] or {}
            data = found.get("bytes")
            if data is None and found.get("path"):
                data = pathlib.Path(found["path"]).read_bytes()
            name = f"{split}: row {number}"
            if data is None:
                raise RuntimeError(f"{name} has no image.")
            yield unpacked.Image(split, row[label], data, name)
