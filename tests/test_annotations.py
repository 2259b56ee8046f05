"""Public functions say what they take and return."""

import ast

import pytest

import paths

FILES = [
    path
    for package in ("efficientnet_tf", "transfer")
    for path in sorted((paths.ROOT / package).rglob("*.py"))
]


def find_bare(path):
    """Yields "name" of public functions and methods without annotations."""
    tree = ast.parse(path.read_text())
    owners = [tree] + [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for owner in owners:
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            if node.name.startswith("_") and node.name != "__init__":
                continue
            arguments = [
                *node.args.posonlyargs,
                *node.args.args,
                *node.args.kwonlyargs,
            ]
            bare = [
                a.arg
                for a in arguments
                if a.annotation is None and a.arg not in ("self", "cls")
            ]
            if node.returns is None and node.name != "__init__":
                bare.append("return")
            if bare:
                yield f"{node.name}: {', '.join(bare)}"


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: str(p.relative_to(paths.ROOT))
)
def test_public_functions_are_annotated(path):
    assert not list(find_bare(path))
