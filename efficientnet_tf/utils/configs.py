"""Frozen configurations: named rows, changed fields, checked values.

The constraint of a field stands in its annotation:

    @dataclasses.dataclass(frozen=True)
    class Config:
        epochs: Annotated[int, configs.AtLeast(1)] = 350

        def __post_init__(self):
            configs.check(self)
"""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Iterable
from typing import Any

from efficientnet_tf.utils import data_names, synonyms

# In letters: a list of choices before which the nearest one is named.
_LONG = 200

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

# What a field or a flag may hold, whatever else its constraint says: TensorFlow
# counts in int32, and computes in float32.
MAX_INT = 2**31 - 1
MAX_FLOAT = 3.4e38
MIN_FLOAT = 1.2e-38  # Smaller ones lose their digits, and their inverse is inf.

# A run's longest, which leaves its steps countable.
MAX_EPOCHS = 1_000_000
MAX_RUNS = 10_000  # Of one network, by seeds or by a search.

# Of a value in a message.
_MAX_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """Finite numbers from `low` to `high`, both included."""

    low: float
    high: float = math.inf

    @property
    def words(self) -> str:
        if self.high < math.inf:
            return f"between {self.low:g} and {self.high:g}"
        return (
            f"at least {self.low:g}" if self.low else "finite and not negative"
        )

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high and value < math.inf


# Of a field: any number of epochs.
EPOCHS = AtLeast(0, MAX_EPOCHS)


@dataclasses.dataclass(frozen=True)
class Above:
    """Finite numbers above `low`, up to and including `high`."""

    low: float
    high: float = math.inf

    @property
    def words(self) -> str:
        limit = f" and at most {self.high:g}" if self.high < math.inf else ""
        return f"above {self.low:g}{limit}"

    def holds(self, value: float) -> bool:
        return self.low < value <= self.high and value < math.inf


@dataclasses.dataclass(frozen=True)
class ZeroOrAtLeast:
    """0, which turns something off, or finite numbers from `low` to `high`."""

    low: float
    high: float = math.inf

    @property
    def words(self) -> str:
        return f"0 or {AtLeast(self.low, self.high).words}"

    def holds(self, value: float) -> bool:
        return value == 0 or AtLeast(self.low, self.high).holds(value)


class Fraction:
    """Numbers in [0, 1)."""

    words = "in [0, 1)"

    def holds(self, value: float) -> bool:
        return 0 <= value < 1


class OneOf:
    """One of the given strings."""

    def __init__(self, *choices: str):
        self.choices = choices

    @property
    def words(self) -> str:
        return f"one of {', '.join(self.choices)}"

    def holds(self, value: str) -> bool:
        return value in self.choices


def check(config: Any) -> None:
    """Raises ValueError for a field of another type or outside its constraint.

    None satisfies any constraint where the type allows it; in a tuple, each
    item must satisfy the constraint.

    Args:
      config: a dataclass annotated as this module's docstring shows.
    """
    _check_types(config)
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field, hint in hints.items():
        value = getattr(config, field)
        items = value if isinstance(value, tuple) else (value,)
        for constraint in getattr(hint, "__metadata__", ()):
            for item in items:
                if item is not None and not constraint.holds(item):
                    ours = synonyms.find_value(config, field, item)
                    choices = getattr(constraint, "choices", ())
                    raise ValueError(
                        f"{field}={show(value)} must be {constraint.words}."
                        + (
                            f" Write {ours}."
                            if ours
                            else suggest(item, choices)
                        )
                    )
    _check_numbers(config)


def check_number(name: str, value: float) -> None:
    """Raises ValueError for a number that no computation could use.

    Args:
      name: of the field or flag.
      value: of type int or float; of a float, infinity and "not a number" are
        refused too.
    """
    if isinstance(value, int):
        if abs(value) > MAX_INT:
            raise ValueError(
                f"{name}={show(value)} must be between {-MAX_INT} and "
                f"{MAX_INT}."
            )
    elif not (value == 0 or MIN_FLOAT <= abs(value) <= MAX_FLOAT):
        raise ValueError(
            f"{name}={value!r} must be 0, or a finite number between "
            f"{MIN_FLOAT:g} and {MAX_FLOAT:g} in size."
        )


def show(value: Any) -> str:
    """Returns the representation of a value, shortened, for messages."""
    if isinstance(value, int) and abs(value) > 10**_MAX_SHOWN:
        # Python writes out no more than 4300 digits.
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    if len(text) <= _MAX_SHOWN:
        return text
    return f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"


def suggest(name: Any, choices: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the choice nearest to a typo, or ""."""
    near = _find_nearest(name, choices)
    return "" if near is None else f" Did you mean {near!r}?"


def unknown(
    what: str,
    value: Any,
    choices: Iterable[Any],
    *,
    owner: str = "",
    otherwise: str = "",
) -> str:
    """Returns the message for a value that is not among the choices.

    For example: "Unknown model 'x1'; choose one of x, y. Did you mean 'x'?"

    Args:
      what: the value's kind.
      value: what was given.
      choices: what could have been; it may be empty if there is `otherwise`.
      owner: what the choices belong to, if that is not all there is.
      otherwise: what else could have been given.
    """
    names = [str(choice) for choice in choices]
    listed = f"one of {', '.join(names)}" if names else ""
    options = ", or ".join(filter(None, (listed, otherwise)))
    place = f" for {owner}" if owner else ""
    start, near = (
        f"Unknown {what} {value!r}{place}",
        _find_nearest(value, names),
    )
    if near is not None and len(options) > _LONG:  # Nobody reads to its end.
        return f"{start}; did you mean {near!r}? Choose {options}."
    return f"{start}; choose {options}.{suggest(value, names)}"


def field_names(config: type) -> tuple[str, ...]:
    """Returns the names of a dataclass's fields."""
    return tuple(field.name for field in dataclasses.fields(config))


def list_defaults(config: Any) -> dict[str, Any]:
    """Returns {field: default} of a dataclass's fields that have one."""
    return {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.default is not dataclasses.MISSING
    }


def is_path(name: str) -> bool:
    """Whether a name that is not known looks like that of a file or folder."""
    return os.sep in name or name.startswith((".", "~")) or os.path.exists(name)


def refuse_path(what: str, name: str) -> None:
    """Raises ValueError for a folder given where "folder:PATH" is asked for."""
    if is_path(name):
        raise ValueError(
            f"{name!r} is a path, not a {what}'s name; for a folder with one "
            f"folder per class, or a table of images, write "
            f"--{what}={data_names.suggest(name)}."
        )


def choose(
    recipes: dict[str, Any], name: str, overrides: Iterable[str] = ()
) -> Any:
    """Returns a row of `recipes` with "field=value" overrides applied.

    Raises:
      ValueError: an unknown name, an unknown field or a bad value.
    """
    if name not in recipes:
        raise ValueError(unknown("recipe", name, recipes))
    return with_overrides(recipes[name], overrides)


def with_overrides(config: Any, overrides: Iterable[str]) -> Any:
    """Returns `config` with "field=value" strings applied.

    A value is parsed as the field's type. "none" means None for a field that
    may be None, commas separate the items of a tuple, and "field=" gives an
    empty tuple.

    Raises:
      ValueError: an unknown field or a value of another type.
    """
    kinds = typing.get_type_hints(type(config))
    changes = {}
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"Expected field=value, got {override!r}.")
        if name not in kinds:
            ours = find_ours(config, name, text)
            if ours:
                raise ValueError(f"Unknown field {name!r}; write {ours}.")
            raise ValueError(unknown("field", name, kinds))
        changes[name] = _parse(name, text, kinds[name])
    return dataclasses.replace(config, **changes)


def find_ours(config: Any, name: str, text: str) -> str | None:
    """Returns what to write for the value of a field that is none, or None.

    Of a value that the field does not take, as in "freeze=True", the field
    alone.
    """
    ours = synonyms.find_field(config, name, text)
    field = (ours or "").partition("=")[0]
    config = config() if isinstance(config, type) else config
    if ours is None or field not in typing.get_type_hints(type(config)):
        return ours
    try:
        with_overrides(config, ours.split(" and "))
    except ValueError:
        return f"{field}=..."
    return ours


def check_types(config: Any) -> None:
    """Raises ValueError for a field whose value is not of its declared type.

    Numbers must be such as `check_number` lets pass.
    """
    _check_types(config)
    _check_numbers(config)


def _check_types(config):
    for field, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, field)
        base, optional, many = _unwrap(kind)
        if optional and value is None:
            continue
        if many and isinstance(value, tuple):
            items = value
        else:
            items = (value,)
        if isinstance(value, tuple) != many or not all(
            _is_a(item, base) for item in items
        ):
            raise ValueError(
                f"{field}={show(value)} must be "
                f"{'a tuple of' if many else 'of type'} {base.__name__}."
            )


def _check_numbers(config):
    for field, kind in typing.get_type_hints(type(config)).items():
        value = getattr(config, field)
        base, _, _ = _unwrap(kind)
        for item in value if isinstance(value, tuple) else (value,):
            if base is float and item is not None:
                check_number(field, _as_float(item))
            elif base is int and item is not None:
                check_number(field, item)


def _as_float(value):
    try:
        return float(value)
    except OverflowError:  # Of an integer.
        return math.inf if value > 0 else -math.inf


def _unwrap(kind):
    """Returns (basic type, whether None is allowed, whether it is a tuple)."""
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return arguments[0], types.NoneType in arguments, False
    if typing.get_origin(kind) is tuple:
        return arguments[0], False, True
    return kind, False, False


def _is_a(value, kind):
    # In Python True is an int, and 1 is not a float.
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _find_nearest(name, choices):
    plain = {choice.lower(): choice for choice in choices}
    low = str(name).lower()
    near = difflib.get_close_matches(low, plain, n=1)
    if near or not low:
        return plain[near[0]] if near else None
    ends = [choice for choice in plain if choice.endswith(f"_{low}")]
    # "b0" for "efficientnet_b0", not for "efficientnet_v2_b0".
    least = min(map(len, ends), default=0)
    near = [choice for choice in ends if len(choice) == least]
    return plain[near[0]] if len(near) == 1 else None


def _parse(name, text, kind):
    base, optional, many = _unwrap(kind)
    if optional and text.lower() == "none":
        return None
    if many:
        items = text.split(",") if text else ()
        return tuple(_parse(name, item, base) for item in items)
    try:
        if base is bool:
            return {"true": True, "false": False}[text.lower()]
        return base(text)
    except (KeyError, ValueError):
        raise ValueError(
            f"{name} must be of type {base.__name__}, got {show(text)}."
        ) from None
