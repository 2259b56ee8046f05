"""No function is longer than a screen, no file longer than its subject."""

import ast

import pytest

import paths

MAX_FUNCTION = 60  # Lines, docstring included.
MAX_FILE = 400

FILES = [
    path
    for package in ("efficientnet_tf", "transfer")
    for path in sorted((paths.ROOT / package).rglob("*.py"))
]


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(paths.ROOT))
)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION
    }
    assert not long
