"""Sizes of images as people write them: "224", or "160x320"."""

import re
from collections.abc import Mapping
from typing import Any

FORM = "HEIGHTxWIDTH in pixels, e.g. 160x320, or one number for a square"


def parse(text: str) -> tuple[int, int]:
    """Returns (height, width) in pixels.

    Raises:
      ValueError: the text is of another form.
    """
    found = re.fullmatch(r"([0-9]{1,9})(?:[xX×]([0-9]{1,9}))?", text.strip())
    if not found:
        raise ValueError(f"image_size={text[:60]!r} must be {FORM}.")
    height, width = found.groups()
    return int(height), int(width or height)


def show(size: tuple[int, int]) -> str:
    """Returns the text that `parse` reads."""
    height, width = size
    return str(height) if height == width else f"{height}x{width}"


def show_row(row: Mapping[str, Any]) -> str:
    """Returns the input's size of a row of results; "–" if it has none."""
    height = row.get("resolution")
    if height is None:
        return "–"
    return show((height, row.get("width") or height))
