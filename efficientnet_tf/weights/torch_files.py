"""Reads PyTorch's files without PyTorch and without running their code.

A `.pth` is a pickle, and a pickle is a program: it names functions and calls
them. This reader allows the few names that a state dict needs, replaces them
by inert stand-ins, and refuses a file that names anything else.
"""

import collections
import dataclasses
import io
import json
import math
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import safetensors

# torch/serialization.py, the format before 1.6: these two, the sizes of C
# types, the object and the keys of the storages, each a separate pickle.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

# NumPy has no bfloat16; it is decoded as the upper half of a float32.
BFLOAT16 = "bfloat16"

STORAGE_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

SAFETENSORS_DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}

# Keys under which training runs store the state dict; averaged weights first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")


# Keys beside it, or in a `.safetensors` header, that name the network.
ARCHITECTURE_KEYS = ("architecture", "arch", "model_name")


class RefusedError(ValueError):
    """The file asks for something that a state dict does not need."""


@dataclasses.dataclass(frozen=True)
class StateDict:
    """{name: array}, and what the file calls its network, if it does."""

    arrays: dict[str, np.ndarray]
    architecture: str | None = None


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    numel: int
    offset: int = (
        0  # A legacy view's offset into its root storage, in elements.
    )


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickled(path: str | os.PathLike) -> StateDict:
    """Reads a `.pth`, zipped or legacy; bfloat16 becomes float32.

    Raises:
      RefusedError: the pickle names something that is not allowed.
      ValueError: the file is truncated or is not a state dict.
    """
    # A hostile or truncated stream may raise anything, so all of it becomes one
    # error; only a refusal keeps its own message.
    try:
        with open(path, "rb") as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            file.seek(0)
            content, load = read(file)
            tensors = _state_dict(content)
            _check_total(tensors, file)
            arrays = {k: _materialize(k, v, load) for k, v in tensors.items()}
            return StateDict(arrays, _architecture(content))
    except RefusedError as error:
        raise RefusedError(f"{path} {error}; refused.") from None
    except (
        *(ArithmeticError, AttributeError, EOFError, LookupError),
        *(MemoryError, TypeError, ValueError, NotImplementedError),
        *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile),
    ) as error:
        raise ValueError(
            f"{path} is not a readable PyTorch state dict: "
            f"{str(error) or type(error).__name__}."
        ) from error


def read_safetensors(path: str | os.PathLike) -> StateDict:
    """Reads a `.safetensors` file; bfloat16 becomes float32.

    Raises:
      ValueError: the file is truncated, or its header or a type is wrong.
    """
    data = pathlib.Path(path).read_bytes()
    # Not `safetensors.numpy.load`: it fails on bfloat16.
    try:
        arrays = {
            name: _decode_entry(name, entry)
            for name, entry in safetensors.deserialize(data)
        }
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file: {error}."
        ) from error
    # A header that is not JSON has been refused above.
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    return StateDict(arrays, _architecture(header.get("__metadata__")))


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


def _read_zip(file):
    """Returns the unpickled object and a function to load a storage."""
    archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [n for n in members if n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the archive holds no data.pkl")
    root = pickles[0].removesuffix("data.pkl")

    def read(name):
        # PyTorch never compresses; a compressed member could be a zip bomb.
        if members[name].compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        return archive.read(name)

    order = "<"
    if f"{root}byteorder" in members:
        order = {b"little": "<", b"big": ">"}[read(f"{root}byteorder")]

    def load(storage):
        data = read(f"{root}data/{storage.key}")
        return _decode(data, storage.dtype, order)

    return _Unpickler(io.BytesIO(read(pickles[0]))).load(), load


def _read_legacy(file):
    """Returns the unpickled object and a function to load a storage."""
    if _Unpickler(file).load() != LEGACY_MAGIC:
        raise ValueError("it lacks the magic number of a PyTorch file")
    if _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise ValueError("its protocol is unknown")
    order = "<" if _Unpickler(file).load()["little_endian"] else ">"
    unpickler = _Unpickler(file)
    content = unpickler.load()
    arrays = {}
    for key in _Unpickler(file).load():
        dtype = unpickler.roots[key]
        (numel,) = struct.unpack(f"{order}q", file.read(8))
        size = numel * _itemsize(dtype)
        # Checked before `read`, which would allocate that much memory.
        if not 0 <= size <= _file_size(file) - file.tell():
            raise ValueError("it ends before its last tensor")
        arrays[key] = _decode(file.read(size), dtype, order)
    return content, lambda storage: arrays[storage.key]


def _file_size(file):
    return os.fstat(file.fileno()).st_size


def _check_total(tensors, file):
    # Many tensors that share one storage could fill the memory; tied weights
    # are few.
    total = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if total > 4 * _file_size(file):
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
        if isinstance(value, _Tensor)
    }
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def _materialize(name, tensor, load):
    array = load(tensor.storage)
    # A view must lie inside the storage and not be larger than it: strides of 0
    # would make gigabytes out of one number.
    last = tensor.storage.offset + tensor.offset
    if 0 not in tensor.shape:
        steps = zip(tensor.shape, tensor.strides, strict=True)
        last += sum((size - 1) * stride for size, stride in steps)
    numbers = (tensor.offset, tensor.storage.offset, *tensor.shape)
    if (
        min(*numbers, *tensor.strides, 0) < 0
        or math.prod(tensor.shape) > array.size
        or (last >= array.size and 0 not in tensor.shape)
    ):
        raise ValueError(f"{name} lies outside its storage")
    start = tensor.storage.offset + tensor.offset
    return np.lib.stride_tricks.as_strided(
        array[start:],
        tensor.shape,
        [stride * array.itemsize for stride in tensor.strides],
    ).copy()


def _itemsize(dtype):
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def _decode(buffer, dtype, order):
    if dtype != BFLOAT16:
        array = np.frombuffer(buffer, order + dtype)
        return array.astype(dtype, copy=False)
    halves = np.frombuffer(buffer, f"{order}u2").astype(np.uint32)
    return (halves << 16).view(np.float32)


class _Inert:
    """Stands in for a function or class that a pickle may name.

    Calling it runs our function. Nothing can be set on it: the opcode that
    would, BUILD, calls `__setstate__`.
    """

    __slots__ = ("_function", "name")

    def __init__(self, name, function=None):
        self.name = name
        self._function = function

    def __call__(self, *args):
        if self._function is None:
            raise RefusedError(f"asks to call {self.name}")
        return self._function(*args)

    def __setstate__(self, state):
        raise RefusedError(f"asks to change {self.name}")


class _Ignored:
    """Stands in for settings beside the weights, whatever they hold."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class _Unpickler(pickle.Unpickler):
    """Resolves only the names in `_ALLOWED`; records the storages it meets."""

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.roots = {}  # Key of a storage -> its dtype.

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise RefusedError(f"asks to run {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid):
        kind, storage_type, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(storage_type, _Inert):
            raise ValueError(f"it refers to an unknown {kind!r}")
        dtype = STORAGE_DTYPES[storage_type.name]
        self.roots[key] = dtype
        offset = 0
        if view and view[0] is not None:
            _, offset, numel = view[0]
        return _Storage(key, dtype, int(numel), int(offset))


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
        raise ValueError("it holds a tensor without a storage")
    if len(shape) != len(strides):
        raise ValueError("it holds a tensor outside its storage")
    return _Tensor(storage, int(offset), tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_):
    return tensor


def _ignore(*_):
    return None


_ALLOWED = {
    # The class itself: state dicts carry `_metadata`, set by BUILD.
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{
        ("torch._utils", name): _Inert(f"torch._utils.{name}", function)
        for name, function in (
            ("_rebuild_tensor_v2", _rebuild_tensor),
            ("_rebuild_parameter", _rebuild_parameter),
        )
    },
    # The command line of a training run, in timm's checkpoints.
    ("argparse", "Namespace"): _Ignored,
    ("torch", "Size"): _Inert("torch.Size", tuple),
    ("torch", "device"): _Inert("torch.device", _ignore),
    **{("torch", name): _Inert(name) for name in STORAGE_DTYPES},
    **{
        ("torch", name): _Inert(f"torch.{name}")
        for name in ("float64", "float32", "float16", "bfloat16", "int64")
    },
}
