"""Other libraries' errors in one line."""

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
