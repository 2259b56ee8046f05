"""Fine-tuning, grids, evaluation and export of networks besides the family."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

import paths
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder, features, registry
from efficientnet_tf.utils import files
from transfer import finetune
from transfer.config import recipes

# Tiny variants of the base of this name.
NETWORKS = {
    "mobilenet_v1": {"width": 0.1, "depth": 0.3},
    "resnet50": {"width": 0.1, "depth": 0.3},
    "vit": {"width": 0.16, "depth": 0.2},
}
# Those that commands are run for: a convolutional one and a transformer.
TUNED = ("vit",)
SETTINGS = ("epochs=1", "batch_size=4", "frozen_stages=1")


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_folder):
    """A folder with images and with a variant file for each network."""
    tmp = tmp_path_factory.mktemp("networks")
    make_folder(tmp / "good", {"a": 10, "b": 10})
    for base, fields in NETWORKS.items():
        fields = {"base": base, "resolution": 32, **fields}
        (tmp / f"{base}.json").write_text(json.dumps(fields))
    return tmp


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(folder))


# Nine commands in one process; a convolutional network of the family goes
# through them in tests/commands.
commands = pytest.mark.slow


@pytest.fixture(scope="module")
def results(place):
    """{case: (exit code, standard output, standard error)} of commands."""
    settings = [f"--set={setting}" for setting in SETTINGS]
    cases = {}
    for base in TUNED:
        workdir = f"--workdir={place}/{base}"
        model = [f"--model={place}/{base}.json", "--weights=none"]
        task = f"--task=folder:{place}/good"
        data = [f"--dataset=folder:{place}/good", "--split=test"]
        tune = ["finetune", task, *model, *settings, workdir, "--recipe=full"]
        cases |= {
            f"finetune {base}": tune,
            f"predict {base}": ["predict", workdir, f"{place}/good/a/000.png"],
            f"evaluate {base}": ["evaluate", workdir, *data],
            f"export {base}": ["export", workdir, f"--output={place}/{base}/s"],
        }
        if base == "vit":
            cases["finetune again"] = tune
    grid = f"{place}/grid"
    cases |= {
        "grid": [
            *("grid", f"--tasks=folder:{place}/good", "--weights=none"),
            f"--models={place}/vit.json",
            *(*settings, f"--workdir={grid}"),
        ],
        "report": ["report", f"--results={grid}", f"--output={grid}/report"],
        "predict by a random network": [
            *("predict", "--model=mobilenet_v1", "--weights=none"),
            f"{place}/good/a/000.png",
        ],
    }
    (place / "cases.json").write_text(json.dumps(cases))
    program = [sys.executable, paths.SUPPORT / "command_cases.py"]
    outputs = [place / "cases.json", place / "results.json"]
    subprocess.run([*program, *outputs], check=True)
    found = json.loads((place / "results.json").read_text())
    for name, (code, _, stderr) in found.items():
        assert code == 0, f"{name}: {stderr}"
    return found


def _last(results, name):
    return json.loads(results[name][1].splitlines()[-1])


@commands
@pytest.mark.parametrize("base", TUNED)
def test_a_variant_file_is_fine_tuned_from_random_weights(results, place, base):
    row = _last(results, f"finetune {base}")
    assert (row["weights"], row["resolution"]) == (None, 32)
    assert (row["train_images"], row["test_images"]) == (16, 4)
    loaded = classifier.from_run(place / base)
    assert loaded.class_names == ("a", "b")
    built = builder.build(place / f"{base}.json", classes=2)
    counted = sum(
        np.prod(v.shape) for v in built.weights if "moving_" not in v.name
    )
    assert row["parameters"] == counted - built.layers[-1].count_params()


@commands
def test_a_finished_run_is_told_of_as_when_it_ended(results):
    again = results["finetune again"][1]
    assert again.startswith("\nFine-tuned ")
    assert results["finetune vit"][1].endswith(again)


@commands
@pytest.mark.parametrize("base", TUNED)
def test_a_run_ends_with_a_block_for_people(results, place, base):
    first = results[f"finetune {base}"][1]
    assert f"\nFine-tuned {place}/{base}.json on 16 images of folder:" in first
    assert " (95 % interval " in first and " on 4 test images\n" in first
    assert f"  {place}/{base}/model.keras\n" in first
    assert first.count(f"dir={place}/{base}") == 3


@commands
@pytest.mark.parametrize("base", TUNED)
def test_a_run_is_evaluated_and_names_the_classes_of_an_image(results, base):
    row = _last(results, f"finetune {base}")
    scores = _last(results, f"evaluate {base}")
    assert (scores["images"], scores["top1"]) == (4, row["top1"])
    found = _last(results, f"predict {base}")
    assert found["prediction"] in ("a", "b")
    assert _last(results, f"export {base}")["max_difference"] <= 1e-4


@commands
def test_a_grid_of_networks_is_scored_and_reported(results, place):
    assert _last(results, "grid")["ended"] == 1
    rows = files.read_json_lines(place / "grid/results.jsonl")
    # A grid's run is the one that the command makes.
    alone = _last(results, "finetune vit")
    assert [row["top1"] for row in rows] == [alone["top1"]]
    report = (place / "grid/report/report.md").read_text()
    assert "vit.json" in report
    lines = [x for x in results["grid"][1].splitlines() if "top1" in x]
    assert [line.split()[1] for line in lines] == [f"{place}/vit.json"]


@commands
def test_random_weights_predict_something(results):
    found = _last(results, "predict by a random network")
    assert 0 < found["probability"] < 1


def test_a_vision_transformer_has_a_linear_head(place, tmp_path):
    row = finetune.finetune_and_evaluate(
        f"folder:{place}/good",
        registry.get_variant(place / "vit.json"),
        weights=None,
        config=recipes.get_recipe("linear", ["l2_sweep=0.1"]),
        workdir=tmp_path,
        recipe="linear",
    )
    # Two colours are told apart by features of random weights.
    assert row["top1"] == 1.0 and row["model"] == "variant"


def test_a_changed_variant_file_is_another_run(place, tmp_path):
    path = tmp_path / "network.json"
    task, workdir = f"folder:{place}/good", tmp_path / "run"
    config = recipes.get_recipe("full", SETTINGS, pretrained=False)
    fields = json.loads((place / "vit.json").read_text())
    for width in (0.16, 0.32):
        path.write_text(json.dumps({**fields, "width": width}))
        if width == 0.16:
            files.write_json(
                workdir / "config.json",
                {"network": dataclasses.asdict(registry.read_file(path))},
            )
            continue
        with pytest.raises(ValueError, match="holds another run"):
            finetune.finetune_and_evaluate(
                task, path, weights=None, config=config, workdir=workdir
            )


def test_recipes_for_random_weights_train_all_but_what_is_asked_for():
    config = recipes.get_recipe("full", task="cifar10", pretrained=False)
    assert (config.head, config.batch_norm) == ("random", "train")
    assert config.frozen_stages == 0
    asked = ["frozen_stages=2", "head=linear"]
    config = recipes.get_recipe("full", asked, "cifar10", pretrained=False)
    assert (config.head, config.frozen_stages) == ("linear", 2)
    with pytest.raises(ValueError, match="trains only the classifier"):
        recipes.get_recipe("linear", pretrained=False)


@pytest.mark.parametrize("base", NETWORKS)
def test_the_classifier_trains_however_many_stages_are_frozen(place, base):
    network = builder.build(place / f"{base}.json", classes=2, dropout_rate=0)
    features.freeze_stages(network, 7)
    trained = {v.path.split("/")[0] for v in network.trainable_weights}
    assert "predictions" in trained
    assert not [name for name in trained if name.startswith("block")]
