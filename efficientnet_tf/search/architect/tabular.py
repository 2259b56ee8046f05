"""NAS-Bench-Macro: 6,561 networks that were trained three times each.

https://github.com/xiusu/NAS-Bench-Macro (Apache-2.0), a table from which a
search has its answers at once. Its networks are no `Variant`: an identity block
that strides is a convolution, and the stem does not stride.
"""

import dataclasses
import functools
import lzma
import os
import pathlib
import typing

import numpy as np

from efficientnet_tf.search.architect import spaces
from efficientnet_tf.utils import documents, untrusted

if typing.TYPE_CHECKING:
    import keras

PLACES, OPERATIONS = 8, 3
SIZES = (OPERATIONS,) * PLACES
SEEDS = 3
# (expansion, kernel) of each operation but the first, which is the identity.
_BLOCKS = {1: (3, 3), 2: (6, 5)}
# Blocks of each stage, of which the first strides and doubles the filters.
_STAGES = (2, 3, 3)
_STEM, _HEAD, _CLASSES, _SIDE = 32, 1280, 10, 32
_MAX_BYTES = 16 << 20  # The table has 1.2 MB.


@dataclasses.dataclass(frozen=True)
class Table:
    """The benchmark: rows are networks, in the order of `genotypes`.

    Args:
      accuracies: float [networks, seeds], in [0, 1], on CIFAR-10's test images.
      params: int [networks].
      multiply_adds: int [networks].
    """

    genotypes: tuple[spaces.Genotype, ...]
    accuracies: np.ndarray
    params: np.ndarray
    multiply_adds: np.ndarray

    @functools.cached_property
    def index(self) -> dict[spaces.Genotype, int]:
        """{genotype: row}."""
        return {genotype: i for i, genotype in enumerate(self.genotypes)}

    def check_limit(self, cost: str, limit: float) -> None:
        """Raises ValueError if no network is within a limit.

        Args:
          cost: "multiply_adds" or "params".
          limit: of it.
        """
        least = getattr(self, cost).min()
        if limit < least:
            raise ValueError(
                f"no network of the benchmark has {limit:,.0f} {cost} or less; "
                f"the nearest has {least:,}."
            )

    def best(self, limit: float) -> float:
        """Returns the best mean accuracy within a limit of multiply-adds."""
        self.check_limit("multiply_adds", limit)
        legal = self.multiply_adds <= limit
        return float(self.accuracies.mean(axis=1)[legal].max())


def read(path: str | os.PathLike) -> Table:
    """Returns the benchmark of a file, JSON or its .xz.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is not the benchmark's.
    """
    path = pathlib.Path(path).expanduser()
    with untrusted.open_file(path) as file:
        data = file.read(_MAX_BYTES + 1)
    if path.suffix == ".xz":
        data = _unpack(data, path)
    rows = documents.check_object(documents.parse(data, path), {}, path)
    if len(rows) != OPERATIONS**PLACES:
        raise untrusted.DamagedError(
            f"{path} must have {OPERATIONS**PLACES:,} networks, not "
            f"{len(rows):,}."
        )
    names = sorted(rows)
    found = [_read_row(name, rows[name], path) for name in names]
    genotypes, accuracies, params, counts = zip(*found, strict=True)
    return Table(
        genotypes,
        np.array(accuracies) / 100,
        np.array(params),
        np.array(counts),
    )


def to_key(genotype: spaces.Genotype) -> str:
    """Returns a network's name in the table: "22212220"."""
    return "".join(map(str, genotype))


def build(genotype: spaces.Genotype) -> "keras.Model":
    """Returns a network of the benchmark with random weights.

    Its input is [N, 32, 32, 3]; the padding is PyTorch's.
    """
    import keras

    x = inputs = keras.Input((_SIDE, _SIDE, 3))
    x = _conv(x, _STEM, 3, name="stem")
    filters, place = _STEM, 0
    for blocks in _STAGES:
        filters *= 2
        for index in range(blocks):
            x = _block(x, genotype[place], filters, 1 if index else 2)
            place += 1
    x = _conv(x, _HEAD, 1, name="head")
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(_CLASSES)(x))


def _read_row(name, row, path):
    genotype = tuple(int(c) for c in name if c in "012")
    fields = {"test_acc": list, "params": int, "flops": int}
    row = documents.check_object(row, fields, f"{path}, {name[:20]!r}")
    documents.require(row, fields, f"{path}, {name[:20]!r}")
    scores = row["test_acc"]
    if (
        len(name) != PLACES
        or len(genotype) != PLACES
        or len(scores) != SEEDS
        or not all(isinstance(s, float) and 0 <= s <= 100 for s in scores)
    ):
        raise untrusted.DamagedError(
            f"{path}: {name[:20]!r} must be {PLACES} digits from 0 to 2, with "
            f"{SEEDS} accuracies in percent."
        )
    return genotype, scores, row["params"], row["flops"]


def _unpack(data, path):
    unpacker = lzma.LZMADecompressor()
    try:
        found = unpacker.decompress(data, _MAX_BYTES)
    except lzma.LZMAError as error:
        raise untrusted.DamagedError(
            f"{path} is no .xz file: {error}."
        ) from None
    if not unpacker.eof:
        raise untrusted.DamagedError(f"{path} is cut off, or too large.")
    return found


def _block(x, operation, filters, strides):
    import keras

    given = x.shape[-1]
    if operation == 0:
        if strides == 1:
            return x
        return _conv(x, filters, 1, strides, activation=None)
    expansion, kernel = _BLOCKS[operation]
    y = _conv(x, given * expansion, 1)
    y = _conv(y, 0, kernel, strides)
    y = _conv(y, filters, 1, activation=None)
    if strides == 1 and given == filters:
        return keras.layers.Add()([x, y])
    return y


def _conv(x, filters, kernel, strides=1, *, activation="relu", name=None):
    """A convolution, depthwise for 0 filters, with normalization."""
    import keras

    if kernel > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2)(x)
    options = {"strides": strides, "use_bias": False}
    if filters:
        layer = keras.layers.Conv2D(filters, kernel, **options, name=name)
    else:
        layer = keras.layers.DepthwiseConv2D(kernel, **options)
    x = keras.layers.BatchNormalization(epsilon=1e-5)(layer(x))
    return keras.layers.Activation(activation)(x) if activation else x
