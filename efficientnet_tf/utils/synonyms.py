"""What other libraries call a field of a configuration, or its value.

A dataclass lists them in `SYNONYMS`: {word: ours}, the word a field or
"field=value". Case, "_", "-" and spaces of a word do not count, and "#" stands
for a size: of "resize=#" for "image_size=#", "resize=224" is "image_size=224".
"""

import re
from typing import Any


def find_value(config: Any, field: str, value: Any) -> str | None:
    """Returns what to write for a value that `field` does not take, or None.

    Args:
      config: a dataclass, or an instance.
      field: one of its fields.
      value: what was given.
    """
    known = _list_plain(config)
    ours = known.get(_to_plain(f"{field}={value}"))
    if ours is None and re.fullmatch(r"\d+(x\d+)?", str(value)):
        ours = known.get(_to_plain(f"{field}=#"), "").replace("#", str(value))
    return ours or None


def find_field(config: Any, name: str, value: str) -> str | None:
    """Returns what to write for the value of a field that is none, or None."""
    field = _list_plain(config).get(_to_plain(name))
    if field is None:
        return None
    return find_value(config, field, value) or f"{field}={value}"


def _list_plain(config):
    known = getattr(config, "SYNONYMS", {})
    return {_to_plain(word): ours for word, ours in known.items()}


def _to_plain(word):
    return re.sub("[_ -]", "", word).lower()
