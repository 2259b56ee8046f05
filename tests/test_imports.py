"""Who may import whom: CONTRIBUTING.md's picture, checked on the source."""

import ast
import graphlib
import subprocess
import sys

import pytest

import efficientnet_tf
import paths

PACKAGES = ("efficientnet_tf", "transfer")

# Room -> the rooms that its files import besides their own: these and no other.
# To its own rooms a package is one of several; to all others, "data" and
# "transfer" are one, with the rooms inside.
ROOMS = {
    "utils": (),
    "models": ("utils",),
    "weights": ("utils", "models"),
    "data.images": ("utils",),
    "data.augment": ("utils",),
    "data": ("utils", "data.images", "data.augment"),
    "data.folders": ("utils", "data.images"),
    "data.tables": ("utils", "data.folders"),
    "data.archives": ("utils", "data", "data.images", "data.folders"),
    "data.sets": (
        "utils",
        "data",
        "data.images",
        "data.folders",
        "data.tables",
        "data.archives",
    ),
    "inference": ("utils", "models", "weights", "data"),
    "deploy": ("utils", "models", "weights", "data", "inference"),
    "training": ("utils", "models", "data", "inference"),
    "measure": ("utils", "models", "training"),
    "search": (
        *("utils", "models", "data", "training", "measure"),
        *("inference", "deploy"),  # Latency of an exported file.
    ),
    "transfer.config": ("utils", "models", "data", "training"),
    "transfer.scores": ("utils", "data", "inference"),
    "transfer.training": (
        *("utils", "models", "weights", "data", "inference", "training"),
        *("transfer.config", "transfer.scores"),
    ),
    "transfer.choice": (
        *("utils", "models", "data", "inference", "training"),
        *("transfer.config", "transfer.scores", "transfer.training"),
    ),
    "transfer": (
        *("utils", "models", "weights", "data", "inference", "training"),
        *("transfer.config", "transfer.scores", "transfer.training"),
        *("transfer.choice", "transfer.report"),  # A run ends with its report.
    ),
    "transfer.datasets": ("utils", "data", "transfer.config"),
    "transfer.sweep": (
        *("utils", "models", "weights", "transfer", "transfer.config"),
    ),
    "transfer.report": (
        *("utils", "models", "transfer.config", "transfer.scores"),
    ),
}
# They call everything.
ROOMS["commands"] = tuple(room for room in ROOMS if "." not in room)

# These also run where TensorFlow is not installed: they import it in
# functions, if at all.
WITHOUT_TENSORFLOW = ("utils", "models", "weights", "measure", "search")
# These import no framework at their top, so that commands answer at once.
WITHOUT_KERAS = ("utils", "transfer.report", "commands")


def find_modules():
    """Dotted name -> file, for each module of the packages."""
    return {
        ".".join(path.relative_to(paths.ROOT).with_suffix("").parts): path
        for package in PACKAGES
        for path in sorted((paths.ROOT / package).rglob("*.py"))
        if path.stem not in ("__init__", "__main__")
    }


MODULES = find_modules()


def list_imports(path):
    """Yields (dotted name, whether inside a function) of each import."""
    tree = ast.parse(path.read_text(), str(path))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, functions)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) in lazy


def find_room(name):
    """Returns the room of a module of the packages."""
    rooms = [
        room
        for room in ROOMS
        if name.startswith((f"efficientnet_tf.{room}.", f"{room}."))
    ]
    return max(rooms, key=len, default=None)


def generalize(room, found):
    """Returns what `room` calls the room `found` in its row of `ROOMS`."""
    package = found.split(".")[0]
    return found if room.split(".")[0] == package else package


def list_own_imports(module):
    """Returns the modules of the packages that a module imports, anywhere."""
    return {
        name
        for name, _ in list_imports(MODULES[module])
        if name.split(".")[0] in PACKAGES
    }


def find_circle(graph):
    """Returns a circle of {node: nodes it needs}, or None."""
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_every_file_stands_in_a_room_and_every_room_has_files():
    assert {find_room(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_modules_and_from_allowed_rooms_only(module):
    room = find_room(module)
    for name in list_own_imports(module):
        if (room, name) == ("commands", "efficientnet_tf"):
            continue  # Its version.
        assert name in MODULES, f"{name} is not a module"
        found = find_room(name)
        if found == room or (room == "commands" and found in ROOMS):
            continue
        assert generalize(room, found) in ROOMS[room], f"{module}: {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_allowed_arrow_is_used(room):
    used = {
        generalize(room, find_room(name))
        for module in MODULES
        if find_room(module) == room
        for name in list_own_imports(module)
        if name in MODULES
    }
    assert set(ROOMS[room]) <= used


def test_there_is_no_circle_between_rooms():
    assert find_circle(ROOMS) is None


def test_there_is_no_circle_between_files():
    graph = {module: list_own_imports(module) for module in MODULES}
    assert find_circle(graph) is None


def test_a_circle_would_be_found():
    assert find_circle({"a": ("b",), "b": ("a",)}) is not None


def test_contributing_shows_the_same_arrows():
    lines = (paths.ROOT / "CONTRIBUTING.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| `")]
    shown = {
        cells[0].strip(" `/").replace("/", "."): tuple(
            cells[2].replace(",", " ").split()
        )
        for cells in rows
        if len(cells) == 3
    }
    for room, allowed in ROOMS.items():
        if room == "commands":
            assert shown[room] == ("all",)
        else:
            assert set(shown[room]) == set(allowed), room


@pytest.mark.parametrize("module", MODULES)
def test_rooms_for_other_backends_import_tensorflow_in_functions_only(module):
    room = find_room(module)
    forbidden = set()
    if room in WITHOUT_TENSORFLOW:
        forbidden |= {"tensorflow"}
    if room in WITHOUT_KERAS:
        forbidden |= {"tensorflow", "keras", "jax", "torch"}
    for name, lazy in list_imports(MODULES[module]):
        assert lazy or name.split(".")[0] not in forbidden, name


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in (*PACKAGES, "scripts", "benchmarks", "tests")
        for path in sorted((paths.ROOT / folder).rglob("*.py"))
    ],
    ids=lambda path: str(path.relative_to(paths.ROOT)),
)
def test_nobody_imports_scripts_and_only_programs_have_flags(path):
    program = path.parent.name in ("commands", "benchmarks")
    program = program or path.name == "conftest.py"  # It imports programs.
    for name, _ in list_imports(path):
        assert name.split(".")[0] not in ("scripts", "benchmarks"), name
        assert program or not name.startswith("absl.flags"), name


def test_every_public_name_of_the_package_loads():
    assert {"build", "sources"} < set(efficientnet_tf.__all__)
    for name in efficientnet_tf.__all__:
        getattr(efficientnet_tf, name)


def test_importing_the_package_leaves_the_frameworks_alone():
    program = (
        "import sys, efficientnet_tf\n"
        "loaded = {'tensorflow', 'keras', 'h5py'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=True)
