"""The head of a model card, in YAML, as the Hugging Face hub reads it.

The fields are those of modelcard.md in huggingface/hub-docs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from efficientnet_tf.utils import tables

# Texts that YAML 1.1 or 1.2 takes for no text.
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
_PLAIN = re.compile(r"[A-Za-z](?:[\w./ -]*[\w/])?", re.ASCII)


def to_text(fields: Mapping[str, Any]) -> str:
    """Returns a head between its fences.

    Args:
      fields: texts, numbers, lists of them, and mappings or lists of these;
        what is None or empty is left out.
    """
    return "\n".join(["---", *_to_lines(_prune(fields)), "---", ""])


def _prune(value):
    if isinstance(value, Mapping):
        pruned = {name: _prune(inner) for name, inner in value.items()}
        return {k: v for k, v in pruned.items() if v not in (None, [], {})}
    if isinstance(value, list | tuple):
        return [_prune(inner) for inner in value]
    return value


def _to_lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, Mapping | list):
                yield f"{name}:"
                yield from (f"  {line}" for line in _to_lines(inner))
            else:
                yield f"{name}: {_to_scalar(inner)}"
        return
    for item in value:
        if isinstance(item, Mapping):
            first, *rest = _to_lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {_to_scalar(item)}"


def _to_scalar(value):
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # A text in JSON is one in YAML.
    return json.dumps(tables.to_unicode(tables.to_line(value)))
