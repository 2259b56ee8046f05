"""Features of images as files: an array, a table, TensorBoard's projector."""

import contextlib
import csv
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from PIL import Image

from efficientnet_tf.utils import files, tables

FEATURES_FILE, TABLE_FILE = "features.npy", "features.csv"
# TensorBoard looks for the first of these names, which has the others.
PROJECTOR_FILE = "projector_config.pbtxt"
TENSOR_FILE, LABELS_FILE = "projector_features.bytes", "projector_labels.tsv"
SPRITE_FILE = "projector_images.png"

COLUMNS = ("path", "class", "predicted", "probability")
# The projector holds all in a browser's memory: images from all over the set,
# each with a thumbnail of so many pixels a side.
MOST_SHOWN, THUMBNAIL = 2_500, 48


def choose_shown(images: int) -> np.ndarray:
    """Returns the places of the images that the projector shows, in order."""
    shown = min(images, MOST_SHOWN)
    return np.arange(shown) * images // max(shown, 1)


@contextlib.contextmanager
def writing(folder: str | os.PathLike, images: int) -> Iterator["Writer"]:
    """Yields a `Writer`; at the end all files are there, or none of an error.

    Args:
      folder: gets all files.
      images: how many there will be at most.
    """
    folder = pathlib.Path(folder)
    with contextlib.ExitStack() as stack:
        array, table = (
            stack.enter_context(files.atomic(folder / name))
            for name in (FEATURES_FILE, TABLE_FILE)
        )
        writer = Writer(
            stack.enter_context(array.open("w+b")),
            stack.enter_context(
                table.open(
                    "w",
                    encoding="utf-8",
                    # Names of old archives may be in no encoding.
                    errors="surrogateescape",
                    newline="",
                )
            ),
            images,
        )
        yield writer
        writer.finish(folder)


class Writer:
    """Writes rows as they come; what the projector shows is in memory.

    See `writing`.
    """

    def __init__(self, array: IO[bytes], table: IO[str], images: int):
        self.count = self.size = self._seen = 0
        self._shown = set(choose_shown(images).tolist())
        self._kept: list[tuple[np.ndarray, Mapping, Image.Image]] = []
        self._array = array
        self._table = csv.DictWriter(table, COLUMNS, restval="")
        self._table.writeheader()

    @property
    def wants_picture(self) -> bool:
        """Whether the projector shows the next image."""
        return self._seen in self._shown

    def skip(self) -> None:
        """Passes over an image that cannot be read."""
        self._seen += 1

    def add(
        self,
        features: np.ndarray,
        row: Mapping[str, Any],
        pixels: np.ndarray | None,
    ) -> None:
        """Writes an image's features [C], and its `COLUMNS`.

        Args:
          features: float32.
          row: some of the `COLUMNS`.
          pixels: uint8 [H, W, 3]; None: the projector does not show it.
        """
        if not self.count:
            self.size = len(features)
            self._write_header()
        self._array.write(np.ascontiguousarray(features, "<f4").tobytes())
        self._table.writerow(tables.guard_formulas(dict(row)))
        if pixels is not None:
            self._kept.append((features, row, _shrink(pixels)))
        self._seen += 1
        self.count += 1

    def finish(self, folder: pathlib.Path) -> None:
        """Completes the array, and writes the projector's files."""
        # NumPy leaves room in a header for the count to grow.
        self._array.seek(0)
        self._write_header()
        if not self._kept:
            return
        features, rows, pictures = zip(*self._kept, strict=True)
        data = np.stack(features).astype("<f4").tobytes()
        files.write_bytes(folder / TENSOR_FILE, data)
        lines = ["\t".join(COLUMNS)]
        lines += [
            "\t".join(_to_cell(row.get(name, "")) for name in COLUMNS)
            for row in rows
        ]
        files.write_text(folder / LABELS_FILE, "\n".join(lines) + "\n")
        with files.atomic(folder / SPRITE_FILE) as temporary:
            _join(pictures).save(temporary)
        config = _CONFIG.format(
            rows=len(features),
            columns=self.size,
            tensor=TENSOR_FILE,
            labels=LABELS_FILE,
            sprite=SPRITE_FILE,
            side=THUMBNAIL,
        )
        files.write_text(folder / PROJECTOR_FILE, config)

    @property
    def shown(self) -> int:
        """How many images the projector shows."""
        return len(self._kept)

    def _write_header(self):
        shape = (self.count, self.size)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._array, header)


# Protocol buffers' text: TensorBoard's own writer would import TensorFlow.
_CONFIG = """embeddings {{
  tensor_name: "features"
  tensor_shape: {rows}
  tensor_shape: {columns}
  tensor_path: "{tensor}"
  metadata_path: "{labels}"
  sprite {{
    image_path: "{sprite}"
    single_image_dim: {side}
    single_image_dim: {side}
  }}
}}
"""


def _to_cell(value):
    if isinstance(value, float):
        return f"{value:.4f}"
    return tables.to_unicode(tables.to_line(str(value)))


def _shrink(pixels):
    """Returns a square thumbnail, the image whole upon grey."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    square = Image.new("RGB", (THUMBNAIL, THUMBNAIL), (128, 128, 128))
    left, top = ((THUMBNAIL - side) // 2 for side in picture.size)
    square.paste(picture, (left, top))
    return square


def _join(pictures):
    """Returns thumbnails as one image, row by row; it must be a square."""
    columns = math.ceil(math.sqrt(len(pictures)))
    side = columns * THUMBNAIL
    joined = Image.new("RGB", (side, side))
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        joined.paste(picture, (column * THUMBNAIL, row * THUMBNAIL))
    return joined
