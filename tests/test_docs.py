"""The documentation: links, commands, and the site made of it."""

import ast
import functools
import html.parser
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

import efficientnet_tf
import paths
from efficientnet_tf.commands import main

ROOT = paths.ROOT
PACKAGES = ("mkdocs", "material", "mkdocstrings")
TEXTS = sorted(
    [*ROOT.glob("*.md"), *paths.DOCS.rglob("*.md")],
    key=lambda path: path.as_posix(),
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Made when the site is built; see docs/hooks.py.
GENERATED = {"family.html"}

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a page would load from elsewhere.
LOADING = {"src", "srcset", "data", "poster"}
LINKS = {"canonical", "next", "prev", "alternate"}  # Of <link>: not loaded.


def _name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TEXTS, ids=_name)
def test_files_that_a_text_links_to_are_there(path):
    missing = [
        target
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if ":" not in target
        and not target.startswith("#")
        and target not in GENERATED
        and not (path.parent / target.partition("#")[0]).exists()
    ]
    assert not missing


def _command_lines(text):
    """Yields (name, flags) of each `efficientnet NAME --flag ...`."""
    for line in text.replace("\\\n", " ").splitlines():
        # What follows "--" goes to another program.
        line = line.partition("#")[0].partition(" -- ")[0]
        found = re.search(r"(?:^|\s)efficientnet ([a-z][a-z-]*)\b(.*)", line)
        if found:
            yield found[1], re.findall(r"--(?:no)?([a-z_0-9]+)", found[2])


@functools.cache
def _defined_flags(module):
    """Returns the flags of a module of commands, and of those it imports."""
    path = ROOT / "efficientnet_tf" / "commands" / f"{module}.py"
    names = {"help"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            function = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = getattr(node.args[0], "value", None)
            if "DEFINE" in function or "define" in function:
                names.add(first)
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "efficientnet_tf.commands"
        ):
            names.update(*(_defined_flags(name.name) for name in node.names))
    return names


def test_commands_in_the_texts_exist_with_their_flags():
    texts = [path.read_text(encoding="utf-8") for path in TEXTS]
    lines = [
        line
        for text in texts
        for block in FENCE.findall(text)
        for line in _command_lines(block)
    ]
    assert len(lines) > 60
    assert not {name for name, _ in lines} - set(main.COMMANDS)
    unknown = [
        f"{name} --{flag}"
        for name, flags in lines
        for flag in set(flags) - _defined_flags(name.replace("-", "_"))
    ]
    assert not unknown


def test_the_first_screen_is_short_and_has_a_picture_two_commands_five_links():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    first = text.partition("\n## ")[0]
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", first)
    assert 10_000 < (ROOT / picture).stat().st_size < 200_000
    (block,) = FENCE.findall(first)
    assert len(list(_command_lines(block))) == 2
    links = [t for t in LINK.findall(first) if ":" not in t and t != picture]
    assert len(links) == 5


def _build(*arguments):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def needs_mkdocs():
    for package in PACKAGES:
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def site(needs_mkdocs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = _build("--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def hooks(needs_mkdocs):
    """The module of hooks, which the site imports by its path."""
    path = paths.DOCS / "hooks.py"
    spec = importlib.util.spec_from_file_location("hooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Loads(html.parser.HTMLParser):
    """Collects the addresses that a page loads by itself, and its text."""

    def __init__(self):
        super().__init__()
        self.found, self.headings, self._text = [], [], None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.found += [attributes[k] for k in LOADING & attributes.keys()]
        relations = set((attributes.get("rel") or "").split())
        if tag == "link" and not relations <= LINKS:
            self.found.append(attributes["href"])
        if tag == "h2":
            self._text = ""

    def handle_data(self, data):
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag):
        if tag == "h2":
            self.headings.append(self._text.strip(" ¶\n"))
            self._text = None


def _parse(path):
    parser = Loads()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    foreign = {
        address
        for path in pages
        for address in _parse(path).found
        if re.match(r"(https?:)?//", address or "")
    }
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    foreign.update(
        re.findall(r"""(?:url\(|@import )["']?https?:[^)]+""", styles)
    )
    assert not foreign
    # The theme's script fetches these where a page has one.
    texts = (path.read_text(encoding="utf-8") for path in pages)
    fetching = ('class="mermaid"', 'data-md-component="source"')
    assert not [text for text in texts if any(f in text for f in fetching)]


def test_the_site_holds_every_public_name_command_and_notebook(site):
    names = {
        heading
        for path in (site / "api").glob("*.html")
        for heading in _parse(path).headings
    }
    package = efficientnet_tf
    one = set(package._CONSTRUCTORS)
    for name in {*package._EXPORTS, *package._MODULES} - one:
        assert f"efficientnet_tf.{name}" in names
    text = (site / "api" / "weights.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in text for name in one)
    assert _parse(site / "commands.html").headings == list(main.COMMANDS)
    made = {path.stem for path in (site / "notebooks").glob("*.html")}
    assert made == {path.stem for path in NOTEBOOKS}


def test_the_explorer_is_in_the_frame_of_its_page(site):
    (source,) = [
        address
        for address in _parse(site / "explorer.html").found
        if address.endswith(".html")
    ]
    text = (site / source).read_text(encoding="utf-8")
    assert '"efficientnet_b7"' in text and "costs.count_costs" in text


@pytest.mark.parametrize(
    "page, link, expected",
    [
        ("index.md", "docs/data.md#splits", "data.md#splits"),
        ("index.md", "notebooks/deploy.ipynb", "notebooks/deploy.md"),
        ("index.md", "#notebooks", "#notebooks"),
        ("index.md", "LICENSE", "LICENSE.txt"),
        ("reliability.md", "../SECURITY.md", "security.md"),
        ("start_phone.md", "../notebooks/deploy.ipynb", "notebooks/deploy.md"),
        ("api/transfer.md", "../transfer.md", "../transfer.md"),
        ("data.md", "targets.md", "targets.md"),
        ("data.md", "https://keras.io/a.md", "https://keras.io/a.md"),
        ("index.md", "docs/images/report.png", "images/report.png"),
    ],
)
def test_links_between_files_become_links_between_pages(
    hooks, page, link, expected
):
    class Page:
        class file:
            src_uri = page

    text = hooks.on_page_markdown(f"[a]({link}), (b)", Page)
    assert text == f"[a]({expected}), (b)"


def test_a_link_that_leads_nowhere_fails_the_build(needs_mkdocs, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    config = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(docs),
        "nav": ["index.md"],
        "hooks": [],
        "plugins": [],
        "extra_css": [],
    }
    path = tmp_path / "mkdocs.yml"
    path.write_text(json.dumps(config))
    arguments = ("-f", str(path), "--site-dir", str(tmp_path / "site"))
    (docs / "index.md").write_text("# Ab\n\n[b](#ab) [c](#cd) [d](d.md)\n")
    done = _build(*arguments)
    assert done.returncode == 1
    assert "#cd" in done.stderr and "d.md" in done.stderr
    assert "#ab" not in done.stderr
