"""Other libraries' errors, and any file's name, in one line."""

import re

# Names of TensorFlow's graph around what is wrong.
_GRAPH = re.compile(
    r"\{\{.*?\}\}"
    r"|Error in user-defined function passed to \S+ transformation with "
    r"iterator: [\w:\[\]]+:"
    r"|\[\[.*|\[Op:\w+\].*",
    re.DOTALL,
)


def without_graph(message: str) -> str:
    """Returns what a TensorFlow error says, without the names of its graph."""
    return " ".join(_GRAPH.sub(" ", message).split())


def one_line(text: str) -> str:
    """Returns a text with its line ends and control characters escaped."""
    return "".join(
        c if c.isprintable() or "\udc80" <= c <= "\udcff" else _escape(c)
        for c in text
    )


def _escape(character):
    return character.encode("unicode_escape").decode()
