"""A finished run that goes on in the arithmetic of int8."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from efficientnet_tf.inference import classifier
from efficientnet_tf.models import folding, quantization, variants
from efficientnet_tf.utils import folder_options, run_folder, untrusted
from transfer import finetune
from transfer.config import recipes
from transfer.sweep import plan as plan_lib
from transfer.training import qat, starts

START = recipes.FinetuneConfig(
    epochs=0, resolution=32, l2_sweep=(0.1,), train_on="train"
)
QAT = dataclasses.replace(
    recipes.RECIPES["qat"], batch_size=4, train_on="train"
)


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory, tiny_row):
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("EFFICIENTNET_TF_CACHE", str(cache))
        row = dataclasses.replace(tiny_row, stages=tiny_row.stages[:1])
        patch.setitem(variants.VARIANTS, "tiny", row)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("images"), {"a": 10, "b": 10})


def _run(folder, workdir, weights, config, **options):
    return finetune.finetune_and_evaluate(
        f"folder:{folder}",
        "tiny",
        weights=weights,
        config=config,
        workdir=workdir,
        recipe="linear" if weights is None else "qat",
        **options,
    )


@pytest.fixture(scope="module")
def start(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "start"
    _run(folder, workdir, None, START)
    return workdir


@pytest.fixture(scope="module")
def finished(folder, start):
    """(its folder, its row) of a run."""
    workdir = start.parent / "qat"
    return workdir, _run(folder, workdir, str(start), QAT)


def test_a_run_says_what_it_started_from(finished, start):
    workdir, row = finished
    before = run_folder.last_result(start)
    assert (row["recipe"], row["weights"]) == ("qat", str(start))
    assert row["start_recipe"] == "linear"
    assert row["start_score"] == before["score"] == 1.0
    assert row["score"] == 1.0
    lists = [
        (d / run_folder.IMAGES_FILE).read_bytes() for d in (workdir, start)
    ]
    assert lists[0] == lists[1]


class _Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_its_ranges(
    finished, folder, start, tmp_path
):
    workdir = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        _run(folder, workdir, str(start), QAT, watchers=[_Stop()])
    ranges = (workdir / qat.RANGES_FILE).read_bytes()
    _run(folder, workdir, str(start), QAT)
    assert (workdir / qat.RANGES_FILE).read_bytes() == ranges
    metrics = run_folder.read_metrics(workdir / run_folder.METRICS_FILE)
    assert [line["epoch"] for line in metrics] == [1, 2]
    whole, resumed = (
        classifier.from_run(path).model.get_weights()
        for path in (finished[0], workdir)
    )
    for one, two in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_its_network_is_the_starts_rounded_and_trained(finished, start):
    found = classifier.from_run(finished[0])
    first = classifier.from_run(start)
    assert found.settings == first.settings
    assert quantization.is_quantized(found.model)
    ranges = qat.read_ranges(finished[0] / qat.RANGES_FILE)
    begun = quantization.quantize(folding.fold(first.model), ranges)
    assert [v.path for v in begun.weights] == [
        v.path for v in found.model.weights
    ]
    moved = [
        np.abs(one - two).max()
        for one, two in zip(
            begun.get_weights(), found.model.get_weights(), strict=True
        )
    ]
    assert 0 < max(moved) < 0.1


def _change(start, tmp_path, name, **fields):
    """Copies a run's folder with other fields in one of its files."""
    other = shutil.copytree(start, tmp_path / "other")
    content = json.loads((other / name).read_text())
    (other / name).write_text(json.dumps({**content, **fields}))
    return other


CHANGED = {
    "another task": ({"task": "digits"}, "is a run on digits, not on folder:"),
    "another network": ({"model": "resnet50"}, "has the network resnet50, not"),
    "another division": (
        {"group_by": "(.)"},
        "has group_by='[(].[)]', not None",
    ),
    "scored on its images": (
        {"train_on": "train+test"},
        "evaluate_on='test': .* was trained on these images",
    ),
    "quantized already": ({"quantization": "int8"}, "is quantized already"),
    "trained from scratch": ({"task": None}, "has no task|is damaged|no fine"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_start_is_refused_before_work(case, start, folder, tmp_path):
    fields, message = CHANGED[case]
    other = _change(start, tmp_path, "config.json", **fields)
    if case == "trained from scratch":
        content = json.loads((other / "config.json").read_text())
        del content["task"]
        (other / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        _run(folder, tmp_path / "run", str(other), QAT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["results.jsonl", "model.keras"])
def test_an_unfinished_start_is_refused(missing, start, folder, tmp_path):
    other = shutil.copytree(start, tmp_path / "other")
    (other / missing).unlink()
    with pytest.raises(ValueError, match=f"must be its folder, with {missing}"):
        _run(folder, tmp_path / "run", str(other), QAT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("weights", [None, "imagenet", __file__])
def test_weights_that_are_no_run_are_refused(weights):
    with pytest.raises(ValueError, match="must be its folder"):
        starts.find_start(weights)


def test_a_start_without_its_list_of_images_is_refused(start, tmp_path):
    other = shutil.copytree(start, tmp_path / "other")
    (other / run_folder.IMAGES_FILE).unlink()
    found = starts.find_start(other)
    with pytest.raises(ValueError, match="has no images.csv"):
        starts.check_start(
            found, found.config["task"], "tiny", QAT, folder_options.DEFAULT
        )


def test_other_classes_are_refused(start, tmp_path):
    from efficientnet_tf.data.sets import sources

    other = _change(
        start, tmp_path, run_folder.SETTINGS_FILE, class_names=["a", "c"]
    )
    task = starts.find_start(start).config["task"]
    with pytest.raises(ValueError, match="other classes .* a, c, not a, b"):
        qat.build(other, sources.load(task, "train"), tmp_path)
    assert not (tmp_path / qat.RANGES_FILE).exists()


@pytest.mark.parametrize(
    "text", ['{"a": [1]}', '{"a": [2, 1]}', '{"a": ["0", 1]}', "[1, 2]"]
)
def test_damaged_ranges_are_refused(text, tmp_path):
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(untrusted.DamagedError, match="ranges.json"):
        qat.read_ranges(tmp_path / "ranges.json")


def test_grids_refuse_it():
    with pytest.raises(ValueError, match="recipe=qat starts from one finished"):
        plan_lib.Plan(("digits",), ("efficientnet_lite0",), ("qat",))
