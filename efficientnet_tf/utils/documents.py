"""JSON documents from strangers, checked once, where they are read.

A document is one JSON object. `read` makes a frozen dataclass of it whose
fields are its schema (see `configs`); `read_object` leaves it a dictionary and
checks the fields that the caller will use.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any, TypeVar

from efficientnet_tf.utils import configs, untrusted

# The largest that we write, a run's row of results with its confusions, has a
# few megabytes.
MAX_BYTES = 64 << 20
MAX_DEPTH = 64  # Of ours, the configuration of a Keras model has 15.
# Of an integer: all that fit into 64 bits.
_MAX_DIGITS = 19

_T = TypeVar("_T")


def read(path: str | os.PathLike, schema: type[_T]) -> _T:
    """Returns a document as an instance of a dataclass.

    Raises:
      OSError: there is no such file, or it is no regular one.
      untrusted.DamagedError: it is not JSON, or a field is unknown, missing,
        mistyped or outside its constraint.
    """
    return build(schema, read_object(path, {}), path)


def read_object(
    path: str | os.PathLike, kinds: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns a document as a dictionary.

    Args:
      path: the file.
      kinds: {field: type or union of types} of those fields that the caller
        uses, where they are present.

    Raises:
      OSError: there is no such file, or it is no regular one.
      untrusted.DamagedError: it is not JSON, not an object, or a field is
        mistyped.
    """
    with untrusted.open_file(path) as file:
        text = file.read(MAX_BYTES + 1)
    return check_object(parse(text, path), kinds, path)


def parse(text: bytes | str, name: str | os.PathLike) -> Any:
    """Returns the value of JSON text; `name` is its file's in messages.

    Stricter than `json`: no number that a program would trip over (NaN, 1e999,
    a thousand digits), no field twice, no nesting beyond `MAX_DEPTH`.

    Raises:
      untrusted.DamagedError: it is not such JSON.
    """
    if len(text) > MAX_BYTES:
        raise untrusted.DamagedError(
            f"{name} has more than {MAX_BYTES:,} bytes; refused."
        )
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_parse_float,
            object_pairs_hook=_make_object,
        )
    except RecursionError:
        raise untrusted.DamagedError(f"{name} is nested too deeply.") from None
    except ValueError as error:
        raise untrusted.DamagedError(
            f"{name} is not JSON: {untrusted.explain(error)}."
        ) from None
    _check_depth(value, name)
    return value


def build(
    schema: type[_T], fields: Mapping[str, Any], name: str | os.PathLike
) -> _T:
    """Returns an instance of a dataclass from a document's fields.

    A list becomes a tuple where the schema asks for one.

    Raises:
      untrusted.DamagedError: names the file and the field.
    """
    known = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    for field in fields:
        if field not in known:
            message = configs.unknown("field", field, known)
            raise untrusted.DamagedError(
                f"{name}: {untrusted.shorten(message)}"
            )
    missing = [
        field.name
        for field in known.values()
        if field.name not in fields
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise untrusted.DamagedError(f"{name} lacks {', '.join(missing)}.")
    values = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in fields.items()
    }
    try:
        return schema(**values)
    except ValueError as error:
        raise untrusted.DamagedError(
            f"{name}: {untrusted.shorten(error)}"
        ) from None


def check_object(
    value: Any, kinds: Mapping[str, Any], name: str | os.PathLike
) -> dict[str, Any]:
    """Returns a value that must be an object; see `read_object`."""
    if not isinstance(value, dict):
        raise untrusted.DamagedError(
            f"{name} must hold a JSON object, not {_word(value)}."
        )
    for field, kind in kinds.items():
        found = value.get(field)
        # True is an int to Python, but no number to anybody else.
        if field in value and (
            not isinstance(found, kind)
            or (isinstance(found, bool) and kind is not bool)
        ):
            raise untrusted.DamagedError(
                f"{name}: {field} must be {_name_kind(kind)}, not "
                f"{_word(found)}."
            )
    return value


def require(
    value: Mapping[str, Any], fields: Any, name: str | os.PathLike
) -> None:
    """Raises DamagedError if a document lacks one of some fields."""
    missing = [field for field in fields if field not in value]
    if missing:
        raise untrusted.DamagedError(f"{name} lacks {', '.join(missing)}.")


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _name_kind(kind):
    kinds = getattr(kind, "__args__", (kind,))
    return " or ".join(dict.fromkeys(_WORDS[each] for each in kinds))


def _word(value):
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return untrusted.shorten(repr(value)[:60])
    return _WORDS[type(value)]


def _make_object(pairs):
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is there twice")
    return made


def _parse_int(text):
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise ValueError(f"the number {text[:20]}... is too large")
    return int(text)


def _parse_float(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _check_depth(value, name):
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise untrusted.DamagedError(f"{name} is nested too deeply.")
