"""The direction of imports: CONTRIBUTING.md's table, checked on the source."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("efficientnet_tf", "transfer")

# A module imports from the levels above its own line, and from the modules to
# its left on the line.
LEVELS = (
    # 0: neither TensorFlow nor Keras.
    (
        "efficientnet_tf.variants",
        "efficientnet_tf.scaling",
        "efficientnet_tf.published",
        "efficientnet_tf.configs",
        "efficientnet_tf.recipes",
        "efficientnet_tf.files",
        "efficientnet_tf.sharing",
        "efficientnet_tf.sharpening",
        "efficientnet_tf.ranking",
        "efficientnet_tf.downloads",
        "efficientnet_tf.torchfiles",
    ),
    # 1
    (
        "efficientnet_tf.layers",
        "efficientnet_tf.multiply_adds",
        "efficientnet_tf.image_ops",
        "efficientnet_tf.augmentation",
        "efficientnet_tf.mixing",
        "efficientnet_tf.device_augmentation",
        "efficientnet_tf.preprocessing",
        "efficientnet_tf.optimization",
        "efficientnet_tf.distillation",
        "efficientnet_tf.distribution",
        "efficientnet_tf.checkpoints",
        "efficientnet_tf.callbacks",
        "efficientnet_tf.readers",
    ),
    # 2
    (
        "efficientnet_tf.blocks",
        "efficientnet_tf.folders",
        "efficientnet_tf.records",
        "efficientnet_tf.streams",
        "efficientnet_tf.data",
    ),
    # 3
    (
        "efficientnet_tf.model",
        "efficientnet_tf.costs",
        "efficientnet_tf.baselines",
    ),
    # 4
    (
        "efficientnet_tf.convert",
        "efficientnet_tf.weights",
        "efficientnet_tf.applications",
        "efficientnet_tf.profiling",
        "efficientnet_tf.networks",
        "efficientnet_tf.evaluate",
        "efficientnet_tf.visualize",
        "efficientnet_tf.charts",
        "efficientnet_tf.measuring",
        "efficientnet_tf.measurements",
        "efficientnet_tf.choosing",
        "efficientnet_tf.choice_report",
        "efficientnet_tf.classifier",
        "efficientnet_tf.export",
        "efficientnet_tf.trainer",
        "efficientnet_tf.teachers",
    ),
    # 5
    ("efficientnet_tf.feeds", "efficientnet_tf.train"),
    # 6
    (
        "efficientnet_tf.trials",
        "efficientnet_tf.search",
        "efficientnet_tf.study",
        "efficientnet_tf.scaling_report",
        "efficientnet_tf.explorer",
        "transfer.recipes",
        "transfer.paper",
        "transfer.tasks",
        "transfer.annotations",
        "transfer.publishers",
        "transfer.archives",
        "transfer.prepare",
        "transfer.duplicates",
        "transfer.features",
        "transfer.canvases",
        "transfer.inputs",
        "transfer.evidence",
        "transfer.heads",
        "transfer.schedules",
        "transfer.finetune",
        "transfer.plans",
        "transfer.studies",
        "transfer.grid",
        "transfer.intervals",
        "transfer.report",
        "transfer.comparison",
        "transfer.figures",
        "transfer.page",
        "transfer.rendering",
    ),
)

# Imports inside functions that go up: (importer, imported).
ALLOWED_LAZY = {
    # `build(weights=...)` is what people call, and weights need its plans.
    ("efficientnet_tf.model", "efficientnet_tf.weights"),
}

# The model must also build where TensorFlow is not installed, so these import
# it in functions, if at all.
MAY_IMPORT_TENSORFLOW = {
    "efficientnet_tf.records",
    "efficientnet_tf.streams",
    "efficientnet_tf.data",
    "efficientnet_tf.image_ops",
    "efficientnet_tf.augmentation",
    "efficientnet_tf.mixing",
    "efficientnet_tf.preprocessing",
    "efficientnet_tf.export",
    "efficientnet_tf.feeds",
    "efficientnet_tf.train",
    "transfer.duplicates",
    "transfer.features",
    "transfer.canvases",
    "transfer.inputs",
    "transfer.heads",
    "transfer.finetune",
}

ORDER = [module for level in LEVELS for module in level]
FRAMEWORKS = {"tensorflow", "keras", "jax", "torch"}


def _modules():
    """Dotted name -> file, for each module of the packages."""
    return {
        f"{package}.{path.stem}": path
        for package in PACKAGES
        for path in sorted((ROOT / package).glob("*.py"))
        if path.stem != "__init__"
    }


def _imports(path):
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


def _own(name):
    """The package's module that an imported name belongs to, or None."""
    if name.split(".")[0] not in PACKAGES:
        return None
    return ".".join(name.split(".")[:2])


MODULES = _modules()


def test_every_module_is_in_the_table_and_every_row_is_a_module():
    assert len(ORDER) == len(set(ORDER))
    assert set(MODULES) == set(ORDER)


def test_contributing_shows_every_module():
    shown = (ROOT / "CONTRIBUTING.md").read_text()
    missing = [path.name for path in MODULES.values() if path.name not in shown]
    assert not missing


def test_contributing_has_the_same_levels():
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| level | modules |")
    rows = table[1].strip().splitlines()[1 : 1 + len(LEVELS)]
    for row, level in zip(rows, LEVELS, strict=True):
        names = row.split("|")[2].replace("; `transfer`:", ",")
        expected = [module.rpartition(".")[2] for module in level]
        assert [name.strip() for name in names.split(",")] == expected


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_stands_before_it(module):
    before = set(ORDER[: ORDER.index(module)])
    for name, lazy in _imports(MODULES[module]):
        imported = _own(name)
        if imported is None or (lazy and (module, imported) in ALLOWED_LAZY):
            continue
        assert imported in before, f"{module} imports {name}"


def test_every_allowed_exception_is_used():
    used = {
        (module, _own(name))
        for module, path in MODULES.items()
        for name, lazy in _imports(path)
        if lazy
    }
    assert ALLOWED_LAZY <= used


@pytest.mark.parametrize("module", LEVELS[0])
def test_lowest_level_imports_no_framework(module):
    for name, _ in _imports(MODULES[module]):
        assert name.split(".")[0] not in FRAMEWORKS, name


@pytest.mark.parametrize("module", sorted(set(MODULES) - MAY_IMPORT_TENSORFLOW))
def test_model_side_imports_tensorflow_only_in_functions(module):
    for name, lazy in _imports(MODULES[module]):
        assert lazy or name.split(".")[0] != "tensorflow", name


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in (*PACKAGES, "scripts", "benchmarks", "tests")
        for path in sorted((ROOT / folder).glob("*.py"))
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nobody_imports_scripts_and_only_programs_have_flags(path):
    program = path.parent.name in ("scripts", "benchmarks")
    for name, _ in _imports(path):
        assert name.split(".")[0] not in ("scripts", "benchmarks"), name
        assert program or not name.startswith("absl.flags"), name


def test_importing_the_package_leaves_the_frameworks_alone():
    program = (
        "import sys, efficientnet_tf\n"
        "loaded = {'tensorflow', 'keras', 'h5py'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
