r"""Writes two sets to train on: several labels an image, and a number.

python benchmarks/targets.py --data_dir=DIR --output=runs/targets

mosaics.csv: four images of CIFAR-100 side by side, 64 pixels; the labels are
those of its 20 coarse classes that are among them. Each image of the set is in
one mosaic, and its split is the mosaic's. turned.csv: photographs of Cars, each
turned either way by up to 45 degrees, which is the number; only the square in
the middle is kept, that no corner of the turned photograph reaches into.
docs/RESULTS.md has what is learned of them.
"""

import csv
import pathlib
import sys

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags
from PIL import Image

DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
OUTPUT = flags.DEFINE_string("output", None, "The folder for images and CSV.")
flags.mark_flags_as_required(["output"])

SIDE = 32  # Of CIFAR's images, in pixels.
MOST_DEGREES = 45.0
# Of an upright square in a turned one, as a share of its side.
INNER = 1 / np.sqrt(2)
VALIDATION_PARTS = 6  # One of so many of the training images.


def main(_: list[str]) -> None:
    folder = pathlib.Path(OUTPUT.value)
    for name, make, header in (
        ("mosaics", make_mosaics, "labels"),
        ("turned", make_turned, "degrees"),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = []
        for split in ("train", "test"):
            for i, (image, answer) in enumerate(make(split)):
                path = f"{name}/{split}{i:05d}.png"
                Image.fromarray(image).save(folder / path)
                is_held = split == "train" and not i % VALIDATION_PARTS
                rows.append((path, "validation" if is_held else split, answer))
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("path", "split", header), *rows])
        print(f"{folder / name}.csv: {len(rows):,} images")


def make_mosaics(split):
    """Yields (image [64, 64, 3], labels between bars)."""
    loaded, about = tfds.load(
        "cifar100", split=split, data_dir=DATA_DIR.value, download=False,
        with_info=True,
    )  # fmt: skip
    names = about.features["coarse_label"].names
    rows = list(tfds.as_numpy(loaded))
    order = np.random.default_rng(0).permutation(len(rows))
    for four in order[: len(rows) // 4 * 4].reshape(-1, 4):
        a, b, c, d = (rows[i]["image"] for i in four)
        image = np.concatenate([np.hstack([a, b]), np.hstack([c, d])])
        found = {names[rows[i]["coarse_label"]] for i in four}
        yield image, "|".join(sorted(found))


def make_turned(split):
    """Yields (image [64, 64, 3], degrees from upright).

    Without a sign: half of the images are mirrored while a network trains.
    """
    loaded = tfds.load(
        "cars196", split=split, data_dir=DATA_DIR.value, download=False
    )
    random = np.random.default_rng(0 if split == "train" else 1)
    for row in tfds.as_numpy(loaded):
        photo = Image.fromarray(row["image"])
        side = min(photo.size)
        left, top = ((size - side) // 2 for size in photo.size)
        square = photo.crop((left, top, left + side, top + side))
        degrees = float(random.uniform(-MOST_DEGREES, MOST_DEGREES))
        turned = square.rotate(degrees, Image.Resampling.BICUBIC)
        edge = round(side * (1 - INNER) / 2)
        inner = turned.crop((edge, edge, side - edge, side - edge))
        yield (
            np.asarray(inner.resize((2 * SIDE, 2 * SIDE))),
            round(abs(degrees), 2),
        )


if __name__ == "__main__":
    sys.exit(app.run(main))
