"""Unpickles what PyTorch writes, and nothing else.

A pickle is a program: it names functions and calls them, and it can ask for any
amount of memory and time. This unpickler knows only the opcodes and the names
that a state dict needs, replaces the names by inert stand-ins, and counts.
"""

import dataclasses
import pickle
import pickletools
from typing import Any, BinaryIO

from efficientnet_tf.utils import untrusted

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

# A tensor takes 42, and L2 with averages and its optimizer's state has 7,000.
_MAX_READS = 2_000_000
_MAX_DIMENSIONS = 8
_MAX_INTEGER = 1 << 62


class RefusedError(untrusted.DamagedError):
    """The file asks for something that a state dict does not need."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A reference to a buffer of numbers, of `dtype`.

    `offset`, in elements, is that of a legacy view in its root storage.
    """

    key: str
    dtype: str
    numel: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# Typeshed does not know it.
_Base: Any = pickle._Unpickler  # type: ignore[attr-defined]


class Unpickler(_Base):
    """Resolves only the names in `_ALLOWED`; records the storages it meets.

    Python's own, not that in C: the latter allocates what an index into its
    memo claims, and its opcodes cannot be limited.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(_Counted(file), encoding="utf-8")
        self.roots: dict[str, str] = {}  # Key of a storage -> its dtype.

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in for a name; raises RefusedError for others."""
        if (module, name) not in _ALLOWED:
            raise RefusedError(f"asks to run {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the `Storage` that an id of `torch.save` stands for."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise ValueError("it refers to an unknown object")
        kind, storage_type, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(storage_type, Inert):
            raise ValueError("it refers to an unknown object")
        dtype = STORAGE_DTYPES[storage_type.name]
        if not isinstance(key, str):
            raise ValueError("a storage has no name")
        self.roots[key] = dtype
        offset = 0
        if view and view[0] is not None:
            _, offset, numel = view[0]
        _check_integers(numel, offset)
        return Storage(key, dtype, numel, offset)

    def load_frame(self) -> None:
        """Skips a frame's length: a hint for how much to read ahead."""
        self.read(8)

    def load_setitem(self) -> None:
        """As Python's, for keys without parts."""
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        """As Python's, for keys without parts."""
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_build(self) -> None:
        """Drops a state: only dictionaries and settings have one."""
        self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            raise RefusedError(f"asks to change {target.name}")
        if not isinstance(target, _Dict | _Ignored):
            raise ValueError("it asks to change something that is not a dict")

    def refuse(self) -> None:
        """Stands in for the opcodes that no state dict has."""
        raise ValueError("it has an instruction that no state dict needs")


class _Counted:
    """A file that ends where it ends, after a number of reads at most."""

    def __init__(self, file):
        self._file = file
        self._reads = 0
        begin = file.tell()
        self._left = file.seek(0, 2) - begin
        file.seek(begin)

    def read(self, size):
        # `read` would allocate what an instruction claims.
        self._count(size)
        return self._file.read(size)

    def readline(self):
        line = self._file.readline(_LONGEST_LINE)
        self._count(len(line))
        if not line.endswith(b"\n"):
            raise EOFError("it ends too early")
        return line

    def _count(self, size):
        self._reads += 1
        self._left -= size
        if self._left < 0:
            raise EOFError("it ends too early")
        if self._reads > _MAX_READS:
            raise ValueError("it has more instructions than any state dict")


_LONGEST_LINE = 1 << 16


def _check_keys(keys):
    # The hash of a tuple takes the time of all its parts, which may be shared a
    # million times, and that of a deep one overflows the stack.
    for key in keys:
        if not isinstance(key, str | int | float | bytes | None):
            raise ValueError("a key is neither a text nor a number")


def _check_integers(*values):
    for value in values:
        if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
            raise ValueError("a tensor's size or place is not a count")


class _Dict(dict):
    """Stands in for `collections.OrderedDict`."""

    def __init__(self, items=()):
        if not isinstance(items, list | tuple):
            raise ValueError("a dictionary is made of something else")
        _check_keys([key for key, _ in items])
        super().__init__(items)


class Inert:
    """Stands in for a function or class that a pickle may name.

    Calling it runs our function.
    """

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Any = None):
        self.name = name
        self._function = function

    def __call__(self, *args: Any) -> Any:
        if self._function is None:
            raise RefusedError(f"asks to call {self.name}")
        return self._function(*args)


class _Ignored:
    """Stands in for settings beside the weights, whatever they hold."""

    __slots__ = ()


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage):
        raise ValueError("it holds a tensor without a storage")
    if (
        not isinstance(shape, tuple)
        or not isinstance(strides, tuple)
        or len(shape) != len(strides)
        or len(shape) > _MAX_DIMENSIONS
    ):
        raise ValueError("it holds a tensor outside its storage")
    _check_integers(offset, *shape, *strides)
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_):
    return tensor


def _make_size(shape):
    if not isinstance(shape, list | tuple):
        raise ValueError("a size is made of something else")
    return tuple(shape)


def _ignore(*_):
    return None


_ALLOWED = {
    ("collections", "OrderedDict"): _Dict,
    **{
        ("torch._utils", name): Inert(f"torch._utils.{name}", function)
        for name, function in (
            ("_rebuild_tensor_v2", _rebuild_tensor),
            ("_rebuild_parameter", _rebuild_parameter),
        )
    },
    # The command line of a training run, in timm's checkpoints.
    ("argparse", "Namespace"): _Ignored,
    ("torch", "Size"): Inert("torch.Size", _make_size),
    ("torch", "device"): Inert("torch.device", _ignore),
    **{("torch", name): Inert(name) for name in STORAGE_DTYPES},
    **{
        ("torch", name): Inert(f"torch.{name}")
        for name in ("float64", "float32", "float16", "bfloat16", "int64")
    },
}

# By their names in `pickletools`. Left out are those that allocate what they
# claim, hash what they are given, read numbers of any length as text, or reach
# for extensions and buffers.
_REFUSED = """
    BYTEARRAY8 NEXT_BUFFER READONLY_BUFFER EMPTY_SET ADDITEMS FROZENSET
    INT LONG FLOAT STRING UNICODE DICT LONG4 PERSID EXT1 EXT2 EXT4
""".split()


def _make_dispatch():
    table = dict(Unpickler.dispatch)
    for code in pickletools.opcodes:
        if code.name in _REFUSED:
            table[ord(code.code)] = Unpickler.refuse
    for name in ("build", "frame", "setitem", "setitems"):
        code = getattr(pickle, name.upper())
        table[code[0]] = getattr(Unpickler, f"load_{name}")
    return table


Unpickler.dispatch = _make_dispatch()
