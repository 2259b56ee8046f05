"""Named recipes are frozen dataclasses; this is how their fields change."""

import dataclasses


def with_overrides(config, overrides):
    """Returns `config` with "field=value" strings applied.

    A value is read as the type that the field holds; "none" clears a field
    that may be None, and commas separate the items of a tuple.

    Raises:
      ValueError: an unknown field or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(config)}
    changes = {}
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator:
            raise ValueError(f"Expected field=value, got {override!r}.")
        if name not in fields:
            raise ValueError(
                f"Unknown field {name!r}; choose one of {', '.join(fields)}."
            )
        changes[name] = _parse(name, text, fields[name].type)
    return dataclasses.replace(config, **changes)


def _parse(name, text, kind):
    base = str(getattr(kind, "__name__", kind))
    if "None" in str(kind):
        if text.lower() == "none":
            return None
        base = str(kind).split("|")[0].strip()
    if "tuple" in str(kind):
        return tuple(_parse(name, item, float) for item in text.split(","))
    try:
        if base == "bool":
            return {"true": True, "false": False}[text.lower()]
        return {"int": int, "float": float, "str": str}[base](text)
    except (KeyError, ValueError):
        raise ValueError(
            f"{name} must be of type {base}, got {text!r}."
        ) from None
