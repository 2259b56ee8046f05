"""Reads PyTorch's files without PyTorch and without running their code."""

import collections
import contextlib
import dataclasses
import io
import math
import os
import struct
import zipfile

import numpy as np
import safetensors

from efficientnet_tf.utils import documents, untrusted, zip_files
from efficientnet_tf.weights import pickles

# torch/serialization.py, the format before 1.6: these two, the sizes of C
# types, the object and the keys of the storages, each a separate pickle.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

SAFETENSORS_DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": pickles.BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}

# Of a .safetensors file; that of L2 with its optimizer's state has one.
_MAX_HEADER_BYTES = 8 << 20

# Keys under which training runs store the state dict; averaged weights first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")

# Keys beside it, or in a `.safetensors` header, that name the network.
ARCHITECTURE_KEYS = ("architecture", "arch", "model_name")


@dataclasses.dataclass(frozen=True)
class StateDict:
    """{name: array}, and what the file calls its network, if it does."""

    arrays: dict[str, np.ndarray]
    architecture: str | None = None


def read_pickled(path: str | os.PathLike) -> StateDict:
    """Reads a `.pth`, zipped or legacy; bfloat16 becomes float32.

    Raises:
      pickles.RefusedError: the pickle names something that is not allowed.
      ValueError: the file is truncated or is not a state dict.
    """
    try:
        with untrusted.open_file(path) as file:
            zipped = zipfile.is_zipfile(file)
            size = untrusted.check_file(path)
        with untrusted.reading(path, "not a readable PyTorch state dict"):
            read = _read_zip if zipped else _read_legacy
            with read(path) as (content, load):
                tensors = _state_dict(content)
                _check_total(tensors, size)
                arrays = _materialize_all(tensors, load)
            return StateDict(arrays, _architecture(content))
    except pickles.RefusedError as error:
        reason = untrusted.shorten(error)  # It quotes names of any length.
        raise pickles.RefusedError(f"{path} {reason}; refused.") from None


def read_safetensors(path: str | os.PathLike) -> StateDict:
    """Reads a `.safetensors` file; bfloat16 becomes float32.

    Raises:
      ValueError: the file is truncated, or its header or a type is wrong.
    """
    with untrusted.open_file(path) as file:
        data = file.read()
    with untrusted.reading(path, "not a readable safetensors file"):
        header = _read_header(data, path)
        # Not `safetensors.numpy.load`: it fails on bfloat16.
        arrays = {
            name: _decode_entry(name, entry)
            for name, entry in safetensors.deserialize(data)
        }
    return StateDict(arrays, _architecture(header.get("__metadata__")))


def _read_header(data, path):
    """Returns the header, checked before the library makes objects of it."""
    size = int.from_bytes(data[:8], "little")
    # What does not fit the library names in its own words.
    if len(data) < 8 or size > len(data) - 8:
        safetensors.deserialize(data)
        raise ValueError("it is too short")
    if size > _MAX_HEADER_BYTES:
        raise ValueError(f"its header has {size:,} bytes")
    return documents.check_object(
        documents.parse(data[8 : 8 + size], path), {}, path
    )


def _architecture(content):
    if isinstance(content, dict):
        for key in ARCHITECTURE_KEYS:
            if isinstance(content.get(key), str):
                return content[key]
    return None


def _decode_entry(name, entry):
    dtype = SAFETENSORS_DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"{name} has the unsupported type {entry['dtype']}")
    return _decode(entry["data"], dtype, "<").reshape(entry["shape"])


@contextlib.contextmanager
def _read_zip(path):
    """Yields the unpickled object and a function to load a storage."""
    with zip_files.open_zip(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        found = [n for n in members if n.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError("the archive holds no data.pkl")
        root = found[0].removesuffix("data.pkl")

        def read(name):
            # PyTorch never compresses; such a member could be a zip bomb.
            if members[name].compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            return archive.read(name)

        order = "<"
        if f"{root}byteorder" in members:
            order = {b"little": "<", b"big": ">"}[read(f"{root}byteorder")]

        def load(storage):
            data = read(f"{root}data/{storage.key}")
            return _decode(data, storage.dtype, order)

        pickled = io.BytesIO(read(found[0]))
        yield pickles.Unpickler(pickled).load(), load


@contextlib.contextmanager
def _read_legacy(path):
    """Yields the unpickled object and a function to load a storage."""
    with untrusted.open_file(path) as file:
        if pickles.Unpickler(file).load() != LEGACY_MAGIC:
            raise ValueError("it lacks the magic number of a PyTorch file")
        if pickles.Unpickler(file).load() != LEGACY_PROTOCOL:
            raise ValueError("its protocol is unknown")
        info = pickles.Unpickler(file).load()
        order = "<" if info["little_endian"] else ">"
        unpickler = pickles.Unpickler(file)
        content = unpickler.load()
        places = _find_storages(file, unpickler.roots, order)

        def load(storage):
            place, size = places[storage.key]
            file.seek(place)
            return _decode(file.read(size), storage.dtype, order)

        yield content, load


def _find_storages(file, dtypes, order):
    """Returns {key: (place, bytes)} of the storages at a legacy file's end."""
    keys = pickles.Unpickler(file).load()
    end = os.fstat(file.fileno()).st_size
    places = {}
    for key in keys:
        (numel,) = struct.unpack(f"{order}q", file.read(8))
        size = numel * _itemsize(dtypes[key])
        # Checked before it is read, which would allocate that much memory.
        if not 0 <= size <= end - file.tell():
            raise ValueError("it ends before its last tensor")
        places[key] = file.tell(), size
        file.seek(size, os.SEEK_CUR)
    return places


def _check_total(tensors, size):
    # Many tensors that share one storage could fill the memory; tied weights
    # are few.
    total = sum(
        math.prod(tensor.shape) * _itemsize(tensor.storage.dtype)
        for tensor in tensors.values()
    )
    if total > untrusted.LARGEST_RATIO * size:
        raise ValueError("its tensors claim more than the file holds")


def _state_dict(content):
    for wrapper in WRAPPERS:
        inner = content.get(wrapper) if isinstance(content, dict) else None
        if isinstance(inner, dict):
            content = inner
            break
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict")
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, pickles.Tensor)
    }
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def _materialize_all(tensors, load):
    """Returns the arrays; each storage is read once, and then forgotten."""
    sharing = collections.defaultdict(list)
    for name, tensor in tensors.items():
        sharing[tensor.storage.key, tensor.storage.dtype].append(name)
    arrays = dict.fromkeys(tensors)
    for names in sharing.values():
        loaded = load(tensors[names[0]].storage)
        for name in names:
            arrays[name] = _materialize(name, tensors[name], loaded)
    return arrays


def _materialize(name, tensor, array):
    # A view must lie inside the storage and not be larger than it: strides of 0
    # would make gigabytes out of one number.
    start = last = tensor.storage.offset + tensor.offset
    if 0 not in tensor.shape:
        steps = zip(tensor.shape, tensor.strides, strict=True)
        last += sum((size - 1) * stride for size, stride in steps)
    if math.prod(tensor.shape) > array.size or (
        last >= array.size and 0 not in tensor.shape
    ):
        raise ValueError(f"{name} lies outside its storage")
    return np.lib.stride_tricks.as_strided(
        array[start:],
        tensor.shape,
        [stride * array.itemsize for stride in tensor.strides],
    ).copy()


def _itemsize(dtype):
    return 2 if dtype == pickles.BFLOAT16 else np.dtype(dtype).itemsize


def _decode(buffer, dtype, order):
    if dtype != pickles.BFLOAT16:
        array = np.frombuffer(buffer, order + dtype)
        return array.astype(dtype, copy=False)
    halves = np.frombuffer(buffer, f"{order}u2").astype(np.uint32)
    return (halves << 16).view(np.float32)
