"""Checks a TensorFlow checkpoint before TensorFlow reads it.

TensorFlow aborts the process on an index with a broken record, and believes the
sizes that one states. An index is a table of LevelDB's format from names to
`BundleEntryProto`s; tensorflow/core/lib/io/table_builder.cc and
tensorflow/core/util/tensor_bundle/tensor_bundle.cc write it.
"""

import math
from collections.abc import Iterator

from efficientnet_tf.utils import untrusted

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # A block's kind and check sum.
# An entry has about 100 bytes; L2 with its optimizer's state has 10,000.
_MAX_INDEX_BYTES = 32 << 20
_MAX_SHARDS = 10_000


def check(prefix: str) -> None:
    """Checks the index of a checkpoint and the sizes of its data files.

    Raises:
      OSError: a file is missing, or it is no regular one.
      untrusted.DamagedError: the index is damaged, or claims what its data
        files do not hold.
    """
    path = f"{prefix}.index"
    with untrusted.open_file(path) as file:
        table = file.read(_MAX_INDEX_BYTES + 1)
    if len(table) > _MAX_INDEX_BYTES:
        raise untrusted.DamagedError(
            f"{path} has more than {_MAX_INDEX_BYTES:,} bytes; refused."
        )
    with untrusted.reading(prefix):
        entries = list(_list_entries(table))
        shards = _check_header(entries)
        sizes = [
            untrusted.check_file(f"{prefix}.data-{i:05d}-of-{shards:05d}")
            for i in range(shards)
        ]
        claimed = sum(_check_entry(*entry, sizes) for entry in entries[1:])
    untrusted.check_claim(claimed, prefix, sum(sizes))


def _check_header(entries):
    """Returns the number of data files."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    if not entries or entries[0][0] != b"":
        raise ValueError("its index has no header")
    header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries[0][1])
    if header.endianness != tensor_bundle_pb2.BundleHeaderProto.LITTLE:
        raise ValueError("it is of a big-endian machine")
    if not 1 <= header.num_shards <= _MAX_SHARDS:
        raise ValueError(f"it claims {header.num_shards} data files")
    return header.num_shards


def _check_entry(name, value, sizes):
    """Returns the bytes of a tensor, which lies in one of the data files."""
    import tensorflow as tf
    from tensorflow.core.protobuf import tensor_bundle_pb2

    shown = untrusted.shorten(name.decode(errors="replace"))[:80]
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
    sides = [dimension.size for dimension in entry.shape.dim]
    if entry.shape.unknown_rank or any(
        not 0 <= side < 1 << 62 for side in sides
    ):
        raise ValueError(f"{shown} has the shape {sides[:8]}")
    if entry.slices:
        raise ValueError(f"{shown} is in slices, which are not read")
    if not 0 <= entry.shard_id < len(sizes) or not (
        0 <= entry.offset <= entry.offset + entry.size <= sizes[entry.shard_id]
    ):
        raise ValueError(f"{shown} lies outside its data file")
    dtype = tf.as_dtype(entry.dtype)
    if dtype == tf.string:
        # A length of at least one byte for each.
        if math.prod(sides) > entry.size:
            raise ValueError(f"{shown} claims more texts than it has")
    elif math.prod(sides) * dtype.size != entry.size or dtype.size == 0:
        raise ValueError(f"{shown} has not the bytes of its shape")
    return entry.size


def _list_entries(table) -> Iterator[tuple[bytes, bytes]]:
    """Yields (key, value) of all blocks of a table."""
    footer = table[-_FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise ValueError("its index does not end as one does")
    _, place = _read_handle(footer, 0)  # Of a block that stays empty.
    index, _ = _read_handle(footer, place)
    end = 0
    for _, handle in _list_block(_read_block(table, index)):
        found, _ = _read_handle(handle, 0)
        # In order, so that no block can be read twice.
        if found[0] < end:
            raise ValueError("the blocks of its index overlap")
        end = sum(found)
        yield from _list_block(_read_block(table, found))


def _read_block(table, handle):
    offset, size = handle
    end = offset + size
    if end + _TRAILER_BYTES > len(table):
        raise ValueError("its index ends too early")
    if table[end] != 0:
        raise ValueError("its index is compressed")
    return table[offset:end]


def _list_block(block) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise ValueError("a block of its index is too short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    key, place = b"", 0
    if end < 0:
        raise ValueError("a block of its index is too short")
    while place < end:
        shared, place = _read_varint(block, place)
        added, place = _read_varint(block, place)
        size, place = _read_varint(block, place)
        if shared > len(key) or place + added + size > end:
            raise ValueError("a record of its index is broken")
        key = key[:shared] + block[place : place + added]
        place += added
        yield key, block[place : place + size]
        place += size


def _read_handle(data, place):
    """Returns ((offset, size), the place after it)."""
    offset, place = _read_varint(data, place)
    size, place = _read_varint(data, place)
    return (offset, size), place


def _read_varint(data, place):
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            raise ValueError("a record of its index is broken")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a record of its index is broken")
