"""Pages of the documentation site that are made of other files at each build.

mkdocs.yml names this file as a hook. What stands elsewhere is not copied into
docs/: README.md is the first page, notebooks become pages, the explorer is
written, and commands and public names are listed from the packages.
"""

import ast
import inspect
import json
import pathlib
import posixpath
import re
import sys
from typing import Any

from mkdocs.config import defaults
from mkdocs.structure import files as files_lib, pages

ROOT = pathlib.Path(__file__).resolve().parent.parent
# mkdocs imports a hook by its path, and the packages may not be installed.
sys.path.insert(0, str(ROOT))

# File of the repository -> page.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE.txt",
    **{
        f"notebooks/{path.name}": f"notebooks/{path.stem}.md"
        for path in sorted(ROOT.glob("notebooks/*.ipynb"))
    },
}
# In the frame of explorer.md, which becomes explorer.html.
EXPLORER = "family.html"
# Room -> the page's title.
ROOMS = {
    "weights": "Networks and weights",
    "models": "Variants, scaling, costs",
    "data": "Images and labels",
    "inference": "A trained network in use",
    "deploy": "Exported networks",
}
# `](target)` of Markdown, without images' sizes or titles.
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")


def on_files(
    files: files_lib.Files, config: defaults.MkDocsConfig
) -> files_lib.Files:
    """Adds the pages that no file in docs/ has."""
    # Before TensorFlow is imported, which it keeps quiet.
    from efficientnet_tf.commands import quiet  # noqa: F401

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            text = _notebook(json.loads(text))
        _add(files, config, page, text)
    _add(files, config, "commands.md", _commands())
    for room, title in ROOMS.items():
        _add(files, config, f"api/{room}.md", _reference(room, title))
    from efficientnet_tf.search.explorer import explorer

    _add(files, config, EXPLORER, explorer.render())
    return files


def on_page_markdown(markdown: str, page: pages.Page, **_: Any) -> str:
    """Turns links between files of the repository into links of pages."""
    uri = page.file.src_uri
    sources = {made: source for source, made in PAGES.items()}
    folder = posixpath.dirname(sources.get(uri, f"docs/{uri}"))

    def turn(match):
        target, hash_, anchor = match[1].partition("#")
        if not target or ":" in target:
            return match[1]
        path = posixpath.normpath(posixpath.join(folder, target))
        made = PAGES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(made, posixpath.dirname(uri)) + hash_ + anchor

    return LINK.sub(turn, markdown)


def _add(files, config, uri, text):
    files.append(files_lib.File.generated(config, uri, content=text))


def _notebook(notebook):
    """Returns a notebook's text and code; notebooks are stored unexecuted."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{text}\n```" if code else text)
    return "\n\n".join(parts)


def _commands():
    """Returns a page of the docstrings of all commands."""
    from efficientnet_tf.commands import main

    parts = [
        "# Commands",
        "`efficientnet NAME --help` shows the flags of a command. What one "
        "prints is for people; its last line is one flat JSON object, for "
        "programs. From a checkout, `python -m efficientnet_tf NAME` "
        "does the same.",
    ]
    for name in main.COMMANDS:
        stem = name.replace("-", "_")
        path = ROOT / "efficientnet_tf" / "commands" / f"{stem}.py"
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        parts.append(f"## {name}")
        for block in text.split("\n\n"):
            runs = block.lstrip().startswith(main.PROGRAM)
            parts.append(f"```bash\n{block}\n```" if runs else block)
    return "\n\n".join(parts)


def _reference(room, title):
    """Returns a page of the public names that a room defines."""
    import efficientnet_tf

    parts = [f"# {title}"]
    for name, module in efficientnet_tf._EXPORTS.items():
        if module.split(".")[0] == room and name not in _constructors():
            place = f"efficientnet_tf.{module}.{name}"
            parts.append(_directive(place, f"efficientnet_tf.{name}"))
    if room == "weights":
        parts.insert(1, _describe_constructors())
    for name, owner in efficientnet_tf._MODULES.items():
        if owner.split(".")[0] == room:
            place = f"efficientnet_tf.{owner}.{name}"
            parts.append(_directive(place, f"efficientnet_tf.{name}"))
    return "\n\n".join(parts)


def _directive(place, heading):
    options = (
        f"    options:\n      heading: {heading}\n      toc_label: {heading}"
    )
    return f"::: {place}\n{options}"


def _constructors():
    import efficientnet_tf

    return efficientnet_tf._CONSTRUCTORS


def _describe_constructors():
    """Returns the text of the constructors, which are made when imported."""
    from efficientnet_tf.weights import applications

    names = _constructors()
    first = getattr(applications, names[0])
    listed = ", ".join(f"`{name}`" for name in names)
    arguments = inspect.signature(first).parameters.values()
    lines = "".join(f"\n    {argument}," for argument in arguments)
    return (
        "## efficientnet_tf.EfficientNetB0 and others\n\n"
        f"{listed}: each has these arguments.\n\n"
        f"```python\n{names[0]}({lines}\n)\n```\n\n"
        f"{inspect.getdoc(first)}"
    )
