"""Frozen configurations: named rows, changed fields, checked values."""

import dataclasses
import math
import types
import typing

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def choose(recipes, name, overrides=()):
    """Returns a row of `recipes` with "field=value" overrides applied.

    Raises:
      ValueError: an unknown name, an unknown field or a bad value.
    """
    if name not in recipes:
        raise ValueError(
            f"Unknown recipe {name!r}; choose one of {', '.join(recipes)}."
        )
    return with_overrides(recipes[name], overrides)


def with_overrides(config, overrides):
    """Returns `config` with "field=value" strings applied.

    A value is read as the type that the field holds; "none" clears a field
    that may be None, commas separate the items of a tuple, and nothing after
    the "=" empties it.

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
            raise ValueError(
                f"Unknown field {name!r}; choose one of {', '.join(kinds)}."
            )
        changes[name] = _parse(name, text, kinds[name])
    return dataclasses.replace(config, **changes)


def check_types(config):
    """Raises ValueError for a field that does not hold its declared type."""
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
                f"{field}={value!r} must be "
                f"{'a tuple of' if many else 'of type'} {base.__name__}."
            )


def check_choices(config, choices):
    """Raises ValueError unless each field holds one of its choices.

    Args:
      config: a dataclass.
      choices: {field: tuple of strings}.
    """
    for field, allowed in choices.items():
        value = getattr(config, field)
        if value not in allowed:
            raise ValueError(
                f"{field}={value!r} must be one of {', '.join(allowed)}."
            )


def check_range(config, fields, words, holds):
    """Raises ValueError unless `holds(value)`; `words` say what it asks.

    Infinity and NaN never pass; None, where a field admits it, does.
    """
    for field in fields:
        value = getattr(config, field)
        if value is None or (math.isfinite(value) and holds(value)):
            continue
        raise ValueError(f"{field}={value} must be {words}.")


def check_not_negative(config, fields):
    """Raises ValueError unless each field is finite and at least 0."""
    check_range(
        config, fields, "finite and not negative", lambda value: value >= 0
    )


def check_fractions(config, fields):
    """Raises ValueError unless each field is in [0, 1)."""
    check_range(config, fields, "in [0, 1)", lambda value: 0 <= value < 1)


def check_resolution(config):
    """Raises ValueError for images that the network's strides use up."""
    if 0 < config.resolution < 32:
        raise ValueError(
            f"resolution={config.resolution} must be 0 or at least 32."
        )


def _unwrap(kind):
    """Returns the basic type, whether None is allowed, whether it is many."""
    arguments = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return arguments[0], types.NoneType in arguments, False
    if typing.get_origin(kind) is tuple:
        return arguments[0], False, True
    return kind, False, False


def _is_a(value, kind):
    # Python counts True as an int, and 1 as no float.
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


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
            f"{name} must be of type {base.__name__}, got {text!r}."
        ) from None
