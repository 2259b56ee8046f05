"""Lengths of time as people write and read them."""

import re

_UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def parse(text: str) -> float:
    """Returns the seconds of "90s", "30m", "1.5h" or "1h30m".

    Raises:
      ValueError: it is none of these.
    """
    parts = _PART.findall(text.lower())
    units = [unit for _, unit in parts]
    whole = _PART.sub("", text.lower())
    if whole or not parts or not set(units) <= set(_UNITS):
        raise ValueError(
            f"{text[:40]!r} is no length of time such as 90s, 30m or 1h30m."
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def show(seconds: float) -> str:
    """Returns "52 s", "3 min 5 s" or "2 h 7 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
