"""Counts in words."""


def count(number: int, noun: str) -> str:
    """Returns "1 image" or "2,000 images"; of "class", "2 classes"."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"
