import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder, variants
from efficientnet_tf.utils import files, run_folder
from efficientnet_tf.weights import loading
from transfer import finetune
from transfer.choice import auto, folds
from transfer.config import recipes, tasks
from transfer.training import fitting, unknown_images

SMALL = ["resolution=32", "batch_size=8", "epochs=2", "frozen_stages=0"]


@pytest.fixture(autouse=True)
def tiny(tmp_path_factory, monkeypatch, tiny_row):
    monkeypatch.setitem(variants.VARIANTS, "tiny", tiny_row)
    cache = tmp_path_factory.getbasetemp() / "auto_cache"
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(cache))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_row):
    """Images of noise, in which nothing can be learned, and weights."""
    place = tmp_path_factory.mktemp("auto")
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        (place / "images" / name).mkdir(parents=True)
        for i in range(15):
            pixels = noise.integers(0, 256, (100, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "images" / name / f"{i}.png")
    network = builder.build(tiny_row, classes=2, name="tiny")
    loading.save(network, place / "tiny.weights.h5")
    return place


def _run(place, workdir, recipe="auto", settings=SMALL):
    return finetune.finetune_and_evaluate(
        f"folder:{place / 'images'}",
        "tiny",
        weights=str(place / "tiny.weights.h5"),
        config=recipes.get_recipe(recipe, settings),
        workdir=workdir,
        recipe=recipe,
    )


def _examples(size, start):
    images = np.zeros((size, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(start, start + size)
    labels = np.arange(size) * 4 // size  # Sorted, as class folders are.
    return sources.from_arrays(images, labels, list("abcd"))


def _numbers(examples):
    return [int(image[0, 0, 0]) for image, _ in examples.dataset]


@pytest.mark.parametrize("sizes", [(44, 8), (20, 2), (100, 30)])
def test_with_few_validation_images_each_image_is_held_out_once(sizes):
    parts = _examples(sizes[0], 0), _examples(sizes[1], sizes[0])
    divided = folds.divide({"train": parts[0], "validation": parts[1]})
    held = [number for _, part in divided for number in _numbers(part)]
    assert sorted(held) == list(range(sum(sizes)))
    for train, part in divided:
        both = _numbers(train) + _numbers(part)
        assert sorted(both) == list(range(sum(sizes)))
        # About as many of each class as its share.
        counts = np.bincount(part.read_labels(), minlength=4)
        assert counts.max() - counts.min() <= 2


def test_enough_validation_images_are_what_is_compared_on():
    parts = {"train": _examples(40, 0), "validation": _examples(150, 40)}
    assert folds.divide(parts) == [(parts["train"], parts["validation"])]
    # A third of 240 and of the next 240 are enough too.
    parts = {"train": _examples(230, 0), "validation": _examples(10, 230)}
    assert len(folds.divide(parts)) == 2


class _Model:
    stop_training = False


# Accuracies after each of four epochs, and after which it stops.
STOPS = {
    "never better": ((0.1, 0.2, 0.9, 0.9), 2),
    "as good": ((0.5, 0.5, 0.9, 0.9), 2),
    "better at once": ((0.6, 0.1, 0.1, 0.1), None),
    "better by the half": ((0.1, 0.6, 0.7, 0.8), None),
}


@pytest.mark.parametrize("name", STOPS)
def test_training_stops_if_it_is_not_better_by_the_half(name):
    accuracies, expected = STOPS[name]
    stop = auto.StopIfNotBetter(0.5)
    stop.set_params({"epochs": 4})
    stop.set_model(_Model())
    for epoch, accuracy in enumerate(accuracies):
        stop.on_epoch_end(epoch, {"val_top1": accuracy})
        if stop.model.stop_training:
            break
    assert stop.model.stop_training == (expected is not None)
    assert expected in (None, epoch + 1)


def test_what_is_not_better_is_not_kept(place, tmp_path, monkeypatch):
    monkeypatch.setattr(
        auto,
        "_find_trained_hits",
        lambda setup, accuracy: np.zeros(
            setup.examples["validation"].size, bool
        ),
    )
    row = _run(place, tmp_path / "auto")
    assert (row["kept"], row["epochs"], row["wins"]) == ("linear", 0, 0)
    assert f"{row['losses']} wrong that it gets right" in row["why"]
    assert row["changed"]["epochs"] == 2
    assert row["resolution"] == 32 and row["train_images"] == 23
    # The same classifier as by the recipe `linear`.
    linear = _run(place, tmp_path / "linear", "linear", ["resolution=32"])
    assert row["top1"] == linear["top1"]
    two = [
        classifier.from_run(tmp_path / name).model.get_weights()
        for name in ("auto", "linear")
    ]
    for one, other in zip(*two, strict=True):
        # What the temperature is fitted on was fitted from another start.
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_what_is_better_is_trained_on_all_images(place, tmp_path, monkeypatch):
    seen = []

    def find_hits(setup, accuracy):
        seen.append((setup.config.train_on, setup.examples["train"].size))
        auto._keep_detector(setup, fitting.build(setup))
        return np.ones(setup.examples["validation"].size, bool)

    monkeypatch.setattr(auto, "_find_trained_hits", find_hits)
    monkeypatch.setattr(unknown_images, "ENOUGH", 5)
    row = _run(place, tmp_path)
    thresholds = [
        float(np.load(path)["threshold"][0])
        for path in auto.list_detectors(tmp_path)
    ]
    assert row["unknown_threshold"] == pytest.approx(np.mean(thresholds))
    assert row["unknown_by"] == "held-out images of 3 trainings like it"
    # The last third of 23 images is the largest.
    assert seen == [("train", 16), ("train", 16), ("train", 14)]
    assert (row["kept"], row["epochs"], row["losses"]) == ("training", 2, 0)
    assert row["wins"] >= 2 and row["compared_on"] == 23
    metrics = files.read_json_lines(tmp_path / run_folder.METRICS_FILE)
    assert [line["epoch"] for line in metrics] == [1, 2]
    assert 0 <= row["baseline_top1"] < 1


@pytest.mark.slow  # Two whole comparisons.
def test_a_comparison_resumes_after_an_interrupt(place, tmp_path, monkeypatch):
    class Interrupt(auto.StopIfNotBetter):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auto, "StopIfNotBetter", Interrupt)
        with pytest.raises(KeyboardInterrupt):
            _run(place, tmp_path)
    fold = tmp_path / auto.FOLDER / "fold0"
    metrics = fold / run_folder.METRICS_FILE
    assert len(files.read_json_lines(metrics)) == 1
    row = _run(place, tmp_path, settings=SMALL)
    lines = files.read_json_lines(metrics)
    assert [line["epoch"] for line in lines[:2]] == [1, 2]
    assert not (fold / run_folder.CHECKPOINTS).exists()
    assert row["seconds"] > lines[0]["seconds"]
    found = json.loads((tmp_path / auto.CHOICE_FILE).read_text())
    assert found.pop("config")["epochs"] == row["epochs"]
    assert {name: row[name] for name in found} == found


def _setup(workdir, weights, *settings):
    parts = {"train": _examples(16, 0), "validation": _examples(4, 16)}
    config = recipes.get_recipe("auto", [*SMALL, *settings])
    task = tasks.get_task("digits")
    origin = {"weights": weights}
    return fitting.Setup(task, "tiny", origin, config, parts, workdir)


def test_of_one_image_a_class_nothing_is_held_out(tmp_path, monkeypatch):
    """A penalty was searched on the image of the only class not trained on."""
    monkeypatch.setattr(auto, "_Baseline", None)
    parts = {"train": _examples(4, 0).select(np.arange(3))}
    parts["validation"] = _examples(4, 0).select(np.arange(3, 4))
    setup = dataclasses.replace(_setup(tmp_path, "imagenet"), examples=parts)
    config, found = auto.choose(setup, 100**2)
    assert found["kept"] == "linear" and found["compared_on"] == 0
    assert "4 images of 4 classes are too few" in found["why"]
    assert "baseline_top1" not in found
    linear = recipes.get_recipe("linear")
    assert config.l2_sweep == linear.l2_sweep and not config.trains
    # Two of each are compared.
    setup = _setup(tmp_path / "more", "imagenet")
    with pytest.raises(TypeError):
        auto.choose(setup, 100**2)


def test_random_weights_have_no_baseline(tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "_compare", None)
    config, found = auto.choose(_setup(tmp_path, None), 100**2)
    assert config.epochs == 2 and config.rule == "none"
    assert found["kept"] == "training" and "random" in found["why"]
    assert found["tried"].startswith("2 epochs at 32 pixels")


def test_steps_take_the_place_of_the_plans_epochs(tmp_path):
    setup = _setup(tmp_path, None, "epochs=0", "steps=7", "mixup_alpha=0.3")
    config, _ = auto.choose(setup, 100**2)
    assert (config.epochs, config.steps, config.mixup_alpha) == (0, 7, 0.3)


def test_a_diverged_training_has_no_hits(tmp_path, monkeypatch):
    def diverge(*_):
        raise FloatingPointError("loss is nan")

    monkeypatch.setattr(fitting, "build", lambda setup: None)
    monkeypatch.setattr(fitting, "train", diverge)
    hits = auto._find_trained_hits(_setup(tmp_path, None), 0.5)
    assert hits.tolist() == [False] * 4
