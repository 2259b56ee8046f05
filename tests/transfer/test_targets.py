"""Runs on several labels an image, and on numbers."""

import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from PIL import Image

import samples
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import variants
from efficientnet_tf.training import losses
from efficientnet_tf.utils import (
    folder_options,
    run_folder,
    target_scores,
    targets,
)
from transfer import finetune
from transfer.config import recipes
from transfer.report import run_files, run_report
from transfer.scores import gallery
from transfer.training import frozen_features, number_scale, target_heads

LABELS = ("red", "green")
CONFIG = recipes.FinetuneConfig(
    epochs=1,
    batch_size=32,
    head="random",
    train_on="train",
    mixup_alpha=0.2,
    batch_norm="train",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Squares of colours on grey of some brightness, and three tables."""
    root = tmp_path_factory.mktemp("squares")
    noise = np.random.default_rng(0)
    lines = [["path,labels"], ["path,brightness,share,weight"]]
    for i in range(100):
        light = int(noise.integers(0, 100))
        pixels = np.full((16, 16, 3), light, "uint8")
        has = noise.random(2) < 0.5
        for channel in np.flatnonzero(has):
            pixels[4 * channel : 4 * channel + 6, 2:12, channel] = 255
        Image.fromarray(pixels).save(root / f"{i}.png")
        named = [n for n, is_there in zip(LABELS, has, strict=True) if is_there]
        lines[0].append(f"{i}.png,{'|'.join(named)}")
        lines[1].append(
            f"{i}.png,{1000 + 50 * light},{light / 1e4},{1 + i % 2}"
        )
    for name, table in zip(("labels", "numbers"), lines, strict=True):
        (root / f"{name}.csv").write_text("\n".join(table))
    return root


def run(folder, workdir, name, config=CONFIG, **columns):
    return finetune.finetune_and_evaluate(
        f"csv:{folder / name}.csv",
        samples.make_tiny_row(variants),
        weights=None,
        config=config,
        workdir=workdir,
        folder=folder_options.Options(**columns),
    )


def check_maps(read, page):
    """Beside each image are maps of its most wrong labels, that one first."""
    each = target_scores.lose_each(read.answers, "labels")
    places = gallery.pick_worst(each.mean(axis=1))
    assert page.count("data:image") == 2 * len(places)
    for place in places:
        labels = gallery.compared_labels(read.answers, place)
        assert each[place, labels[0]] == each[place].max()
        assert sorted(labels) == [0, 1]
        assert len(gallery.find(read.folder, place)) == 2
        before = page.partition(f'title="{read.image_names[place]}"')[0]
        under = before.rpartition('<div class="under">')[2]
        shown = re.findall("<bdi>(.*?)</bdi>", under)
        assert shown == [read.class_names[label] for label in labels]


def test_a_run_on_labels_is_scored_saved_and_shown(folder, tmp_path):
    config = dataclasses.replace(CONFIG, loss="asymmetric")
    row = run(folder, tmp_path, "labels", config)
    assert (row["metric"], row["class_names"]) == ("map", sorted(LABELS))
    assert row["score"] == row["map"] == np.mean(row["average_precision"])
    assert "val_map" in row["curves"]
    settings = json.loads((tmp_path / "classifier.json").read_text())
    assert settings["target"] == "labels"
    assert settings["thresholds"] == row["thresholds"]
    # The saved network has a sigmoid: shares of labels need not add up to 1.
    loaded = classifier_lib.from_run(tmp_path)
    shares = loaded.predict([folder / "0.png"])[0]
    head = loaded.model.get_layer("predictions")
    assert head.activation is keras.activations.sigmoid
    assert abs(shares.sum() - 1) > 1e-3
    page = run_report.compose(run_files.read(tmp_path))
    check_maps(run_files.read(tmp_path), page)
    for text in (
        "average precision",
        "threshold",
        "predicted: <b>",
        "true: <b>",
    ):
        assert text in page
    assert run(folder, tmp_path, "labels", config)["score"] == row["score"]


def test_a_run_on_numbers_gives_them_in_their_own_units(folder, tmp_path):
    columns = {"targets": ("brightness", "share")}
    row = run(folder, tmp_path, "numbers", **columns)
    assert row["metric"] == "r2"
    assert 0 < row["numbers"]["mae"][1] < 0.01 < row["numbers"]["mae"][0]
    loaded = classifier_lib.from_run(tmp_path)
    assert loaded.target == "numbers"
    brightness, share = loaded.predict([folder / "0.png"])[0]
    assert 0 < brightness < 7000
    assert -0.02 < share < 0.02
    page = run_report.compose(run_files.read(tmp_path))
    for text in ("RMSE", "predicted brightness", "Most wrong"):
        assert text in page
    # A resumed run undoes the scale once: its checkpoint has the scaled head.
    results = tmp_path / run_folder.RESULTS_FILE
    results.unlink()
    again = run(folder, tmp_path, "numbers", **columns)
    assert again["score"] == pytest.approx(row["score"], abs=1e-5)


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("labels", {"class_weight": "auto"}, "class_weight=auto needs one cl"),
        ("labels", {"sampling": "balanced"}, "sampling=balanced needs one"),
        ("labels", {"loss": "squared"}, "squared' does not go with labels"),
        ("numbers", {"loss": "asymmetric"}, "does not go with numbers"),
    ],
)
def test_what_does_not_go_with_a_target_is_refused(
    folder, tmp_path, name, changes, message
):
    columns = {"targets": ("share",)} if name == "numbers" else {}
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(ValueError, match=message):
        run(folder, tmp_path, name, config, **columns)


def make_features(kind, images=200):
    noise = np.random.default_rng(0)
    features = noise.normal(3, 2, (images, 8)).astype("float32")
    kernel = noise.normal(size=(8, 2))
    values = (features - 3) @ kernel
    if kind == targets.LABELS:
        return frozen_features.Features(
            features, (values > 0).astype("float32")
        )
    values = (values * (100, 0.01) + (5000, -1)).astype("float32")
    return frozen_features.Features(features, values)


@pytest.mark.parametrize("kind", [targets.LABELS, targets.NUMBERS])
def test_a_linear_head_finds_what_is_linear(kind):
    data = make_features(kind)
    train, rest = data.select(np.arange(100)), data.select(np.arange(100, 200))
    found = target_heads.search(train, rest, (0.1, 1.0, 10.0), kind)
    said = target_heads.answer(train, rest, found.C, kind)
    if kind == targets.LABELS:
        assert ((said.found > 0.5) == said.truth).mean() > 0.93
    else:
        spread = rest.labels.std(axis=0)
        assert (np.abs(said.found - said.truth) / spread).max() < 0.05


@pytest.mark.parametrize("kind", [targets.LABELS, targets.NUMBERS])
def test_one_label_or_number_is_enough(kind):
    features, labels, _ = make_features(kind)
    data = frozen_features.Features(features, labels[:, :1])
    kernel, bias = target_heads.fit(data, 1.0, kind)
    assert (kernel.shape, bias.shape) == ((8, 1), (1,))


def test_a_scale_is_undone_in_the_head():
    numbers = np.array([[10.0, 0.1], [30.0, 0.3], [20.0, 0.2]], "float32")
    scale = number_scale.of_numbers(numbers)
    np.testing.assert_allclose(scale.apply(numbers).std(axis=0), 1, rtol=1e-5)
    head = keras.layers.Dense(2)
    head.build((None, 4))
    inputs = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    before = np.asarray(head(inputs))
    scale.undo_in(head)
    np.testing.assert_allclose(
        scale.apply(np.asarray(head(inputs))), before, rtol=1e-4, atol=1e-5
    )


def test_the_asymmetric_loss_is_the_papers():
    truth = np.array([[1.0, 0.0, 0.0]], "float32")
    found = np.array([[0.8, 0.3, 0.04]], "float32")
    # Equations 4 to 7: (1 - p) log p, and p_m^4 log(1 - p_m), p_m = p - 0.05.
    terms = [0.2 * np.log(0.8), 0.25**4 * np.log(0.75), 0.0]
    loss = losses.AsymmetricLoss()(truth, found)
    assert float(loss) == pytest.approx(-np.mean(terms), rel=1e-4)


def test_without_focus_and_shift_it_is_the_binary_cross_entropy():
    plain = losses.AsymmetricLoss()
    plain.positive, plain.negative, plain.shift = 0.0, 0.0, 0.0
    noise = np.random.default_rng(0)
    truth = noise.random((4, 3)).astype("float32")
    found = noise.random((4, 3)).astype("float32")
    expected = keras.losses.BinaryCrossentropy()(truth, found)
    assert float(plain(truth, found)) == pytest.approx(
        float(expected), rel=1e-3
    )
