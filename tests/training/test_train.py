import dataclasses
import fractions
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import paths
from efficientnet_tf.models import variants
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
    inputs,
    progression,
    recipes,
    stopping,
    train,
)

# All randomness is on, so that a resume that loses any of it is noticed.
CONFIG = recipes.get_recipe(
    "smoke",
    [
        "epochs=3",
        "batch_size=4",
        "resolution=32",
        "augment=autoaugment",
        "drop_path_rate=0.2",
        "dropout_rate=0.3",
        "mixup_alpha=0.2",
        "batch_norm=local",
        "keep_checkpoints=2",
    ],
)
# Of the first two epochs: 14 of the 20 images are for training, 3.5 batches.
STEPS = 3


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tiny_row):
    monkeypatch.setitem(variants.VARIANTS, "tiny", tiny_row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("images"), {"a": 10, "b": 10})


def _train(folder, workdir, config=CONFIG, profile_steps=0, **changes):
    return train.train_and_evaluate(
        "tiny",
        f"folder:{folder}",
        config=dataclasses.replace(config, **changes),
        workdir=workdir,
        splits=("train", "test"),
        strategy="none",
        profile_steps=profile_steps,
    )


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _state(workdir):
    newest = checkpoints.list_newest(workdir / "checkpoints")[0]
    with np.load(newest / checkpoints.STATE_FILE) as archive:
        return newest.name, [archive[name] for name in sorted(archive.files)]


def _assert_same_state(one, two):
    (name, arrays), (other_name, others) = _state(one), _state(two)
    assert name == other_name and len(arrays) == len(others)
    for i, (array, other) in enumerate(zip(arrays, others, strict=True)):
        np.testing.assert_array_equal(array, other, err_msg=str(i))


ONE_STAGE = progression.stages(CONFIG)
TWO_STAGES = (
    progression.TrainStage(0, 2, 32, 0.0),
    progression.TrainStage(2, 3, 64, 0.0),
)
# Stages, steps done → (first epoch, end, first step, steps) of each segment;
# an epoch has 5 steps.
SEGMENTS = {
    "from the beginning": (ONE_STAGE, 0, [(0, 3, 0, 5)]),
    "after an epoch": (ONE_STAGE, 5, [(1, 3, 5, 5)]),
    "within an epoch": (ONE_STAGE, 7, [(1, 2, 7, 3), (2, 3, 10, 5)]),
    "within the last epoch": (ONE_STAGE, 14, [(2, 3, 14, 1)]),
    "at the end": (ONE_STAGE, 15, []),
    "two stages": (TWO_STAGES, 0, [(0, 2, 0, 5), (2, 3, 10, 5)]),
    "within the first": (
        TWO_STAGES,
        3,
        [(0, 1, 3, 2), (1, 2, 5, 5), (2, 3, 10, 5)],
    ),
    "between them": (TWO_STAGES, 10, [(2, 3, 10, 5)]),
    "within the second": (TWO_STAGES, 12, [(2, 3, 12, 3)]),
}


@pytest.mark.parametrize(
    "stages,done,expected", SEGMENTS.values(), ids=SEGMENTS
)
def test_what_is_left_is_whole_epochs_and_the_rest_of_one(
    stages, done, expected
):
    segments = inputs.plan_segments(stages, 5, done)
    assert [
        (s.begin_epoch, s.end_epoch, s.first_step, s.steps_per_epoch)
        for s in segments
    ] == expected


# ImageNet by 2048 images is 625.57 steps an epoch, and 218,949 in 350 epochs
# (main.py of the official code).
IMAGENET = fractions.Fraction(1_281_167, 2048)
QUARTERS = [
    progression.TrainStage(begin, end, 0, 0.0)
    for begin, end in ((0, 88), (88, 175), (175, 262), (262, 350))
]
EXACT = {
    "ImageNet": (
        [progression.TrainStage(0, 350, 0, 0.0)],
        IMAGENET,
        0,
        [(0, 151, 0, 625), (151, 350, 94_375, 626)],
    ),
    "ImageNet, resumed among the longer": (
        [progression.TrainStage(0, 350, 0, 0.0)],
        IMAGENET,
        218_000,
        [(348, 349, 218_000, 323), (349, 350, 218_323, 626)],
    ),
    "ImageNet in stages": (
        QUARTERS,
        IMAGENET,
        0,
        [
            (0, 38, 0, 625),
            (38, 88, 23_750, 626),
            (88, 126, 55_050, 625),
            (126, 175, 78_800, 626),
            (175, 212, 109_474, 625),
            (212, 262, 132_599, 626),
            (262, 300, 163_899, 625),
            (300, 350, 187_649, 626),
        ],
    ),
    "few images": (
        ONE_STAGE,
        fractions.Fraction(19, 10),
        0,
        [(0, 1, 0, 1), (1, 3, 1, 2)],
    ),
    "resumed between both lengths": (
        ONE_STAGE,
        fractions.Fraction(19, 10),
        1,
        [(1, 3, 1, 2)],
    ),
}


@pytest.mark.parametrize(
    "stages,steps_per_epoch,done,expected", EXACT.values(), ids=EXACT
)
def test_epochs_of_two_lengths_add_up_to_the_exact_number_of_steps(
    stages, steps_per_epoch, done, expected
):
    segments = inputs.plan_segments(stages, steps_per_epoch, done)
    assert [
        (s.begin_epoch, s.end_epoch, s.first_step, s.steps_per_epoch)
        for s in segments
    ] == expected
    ends = [
        s.first_step + (s.end_epoch - s.begin_epoch) * s.steps_per_epoch
        for s in segments
    ]
    # Nothing between two segments, and none of the run's steps left out.
    assert ends[:-1] == [s.first_step for s in segments[1:]]
    assert ends[-1] == int(stages[-1].end * steps_per_epoch)


# Wanted, steps of an epoch → steps at once.
EXECUTIONS = [(1, 7, 1), (64, 625, 64), (9, 6, 6), (64, IMAGENET, 64)]


@pytest.mark.parametrize("wanted,steps,expected", EXECUTIONS)
def test_an_execution_is_no_longer_than_an_epoch(wanted, steps, expected):
    assert inputs.steps_per_execution(wanted, steps) == expected


def test_epochs_are_whole_executions_and_lose_less_than_one_in_a_run():
    stages = [progression.TrainStage(0, 350, 0, 0.0)]
    short, long = inputs.plan_segments(stages, IMAGENET, 0, execution=64)
    assert (short.steps_per_epoch, long.steps_per_epoch) == (9 * 64, 10 * 64)
    assert long.first_step == short.end_epoch * 9 * 64
    steps = long.first_step + (350 - long.begin_epoch) * 10 * 64
    assert steps == 218_944  # Of 218,949.
    (rest, _) = inputs.plan_segments(
        stages, IMAGENET, long.first_step + 64, execution=64
    )
    assert rest.steps_per_epoch == 9 * 64


def test_a_run_records_raw_and_averaged_scores_and_is_done_once(
    folder, tmp_path, monkeypatch
):
    row = _train(folder, tmp_path)
    assert (row["train_images"], row["test_images"]) == (14, 4)
    assert {"top1", "top5", "loss"} < set(row)
    assert {"ema_top1", "ema_top5", "ema_loss"} < set(row)
    assert row["ema_loss"] != row["loss"]
    metrics = _lines(tmp_path / train.run_folder.METRICS_FILE)
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    # Three times 3.5, of which the last epoch has four.
    assert _state(tmp_path)[0] == "step_000000010"
    for name in ("val_top1", "val_ema_top1", "gradient_norm", "l2"):
        assert np.isfinite([line[name] for line in metrics]).all()
    assert all(0 <= line["input_wait"] <= 1 for line in metrics)
    # The same images are scored at the end of the last epoch and of the run.
    assert metrics[-1]["val_loss"] == pytest.approx(row["loss"], abs=1e-5)
    assert _lines(tmp_path / train.run_folder.RESULTS_FILE) == [row]
    monkeypatch.setattr(train.builder, "build", None)
    assert _train(folder, tmp_path) == row


def test_what_is_saved_is_the_average(folder, tmp_path):
    from efficientnet_tf.data import datasets
    from efficientnet_tf.data.sets import sources
    from efficientnet_tf.inference import classifier, evaluate

    row = _train(folder, tmp_path)
    loaded = classifier.from_run(tmp_path)
    dataset = datasets.make_eval_dataset(
        sources.load(f"folder:{folder}", "test"),
        loaded.preprocess,
        batch_size=3,
    )
    scores = evaluate.evaluate(loaded.model, dataset)
    assert scores.images == 4
    assert scores.top1 == pytest.approx(row["ema_top1"])


class _StopAt(callbacks.StopOnBadLoss):
    """Raises after a step of the run."""

    step_to_stop = None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self.step_to_stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="rmsprop"),
        pytest.param(
            {
                "stage_resolutions": (32, 48),
                "stage_mixups": (0.0, 0.5),
                "stage_cutmixes": (0.0, 1.0),
                "stage_dropouts": (0.1, 0.5),
            },
            id="progressive",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "optimizer": "sgd",
                "schedule": "cosine",
                "accumulation_steps": 2,
                "augment": "none",
            },
            id="sgd",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"steps_per_execution": 2, "batch_size": 7, "augment": "none"},
            id="executions",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_run_ends_bit_for_bit_as_an_undisturbed_one(
    folder, tmp_path, monkeypatch, changes
):
    changes = {"checkpoint_minutes": 1e-9, **changes}
    whole = _train(folder, tmp_path / "whole", **changes)
    monkeypatch.setattr(callbacks, "StopOnBadLoss", _StopAt)
    for step in (2, 4) if "steps_per_execution" in changes else (2, 7):
        monkeypatch.setattr(_StopAt, "step_to_stop", step)
        with pytest.raises(KeyboardInterrupt):
            _train(folder, tmp_path / "parts", **changes)
    monkeypatch.setattr(_StopAt, "step_to_stop", None)
    parts = _train(folder, tmp_path / "parts", **changes)
    _assert_same_state(tmp_path / "whole", tmp_path / "parts")
    assert parts["ema_loss"] == whole["ema_loss"]


@pytest.mark.slow  # A whole run, and a trace for each stage.
def test_dropout_changes_by_stage_and_each_stage_is_traced_once(
    folder, tmp_path, monkeypatch
):
    traced = []
    step = train.train_state.trainer.Trainer._train_step

    def count(self, data):
        rate = self.get_layer("top_dropout").rate
        traced.append((data[0].shape[1], rate))
        return step(self, data)

    monkeypatch.setattr(train.train_state.trainer.Trainer, "_train_step", count)
    sizes = (32, 40, 32)
    rates = (0.0, 0.2, 0.5)
    _train(
        folder,
        tmp_path,
        stage_resolutions=sizes,
        stage_dropouts=rates,
        augment="none",
    )
    # The last epoch has one step more, in a stage of its own.
    assert traced == list(zip(sizes, rates, strict=True))


@pytest.mark.slow  # A whole run for one choice.
def test_images_held_out_choose_the_best_and_are_not_trained_on(
    folder, tmp_path
):
    row = _train(folder, tmp_path, minival_images=4)
    assert (row["train_images"], row["test_images"]) == (10, 4)
    best = checkpoints.find_best(tmp_path / "checkpoints")
    scores = [
        line["val_ema_top1"]
        for line in _lines(tmp_path / train.run_folder.METRICS_FILE)
    ]
    about = json.loads((best / checkpoints.ABOUT_FILE).read_text())
    assert about["score"] == pytest.approx(max(scores))
    assert row["ema_loss"] == pytest.approx(_loss_of(best, folder), abs=1e-5)


def _loss_of(checkpoint, folder):
    """The cross-entropy of a checkpoint's averages on the test images."""
    from efficientnet_tf.data import datasets
    from efficientnet_tf.data.sets import sources
    from efficientnet_tf.models import builder
    from efficientnet_tf.training import ema, optimizers

    network = builder.build("tiny", classes=2, input_shape=(32, 32, 3))
    average = ema.ExponentialMovingAverage(network.weights, 0.9)
    network.compile(optimizers.make_optimizer(CONFIG, 2))
    state = checkpoints.state_of(network)
    # The order that a run has: network, optimizer, averages.
    with np.load(checkpoint / checkpoints.STATE_FILE) as archive:
        arrays = [archive[name] for name in sorted(archive.files)]
    for variable, array in zip(
        average.variables, arrays[-len(average.variables) :], strict=True
    ):
        variable.assign(array)
    assert len(arrays) == len(state) + len(average.variables)
    average.swap()
    examples = sources.load(f"folder:{folder}", "test")
    dataset = datasets.make_eval_dataset(
        examples,
        lambda image: train.inputs.preprocessing.preprocess_for_eval(
            image,
            32,
            interpolation=variants.VARIANTS["tiny"].interpolation,
            crop_padding=CONFIG.crop_padding,
        ),
        batch_size=4,
    )
    (images, labels), *_ = dataset
    shares = network(images).numpy()[np.arange(4), labels]
    smooth = CONFIG.label_smoothing / 2
    others = network(images).numpy()[np.arange(4), 1 - labels]
    losses = -(1 - smooth) * np.log(shares) - smooth * np.log(others)
    return float(losses.mean())


def test_what_cannot_fit_into_memory_is_not_tried(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(train.memory, "_proc_mb", lambda path, field: 0.1)
    for sizes in ((), (32, 64)):
        with pytest.raises(MemoryError, match="on 4 images at once needs"):
            _train(folder, tmp_path, stage_resolutions=sizes)
    # The list of images, but no run that would be resumed.
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv"}
    # Where nobody says what is free, it is tried.
    monkeypatch.setattr(train.memory, "MEMORY_FILE", "/nowhere")
    monkeypatch.setattr(train, "_fit", _raise_keyboard_interrupt)
    with pytest.raises(KeyboardInterrupt):
        _train(folder, tmp_path)


def test_a_stop_after_the_last_epoch_is_not_lost(tmp_path):
    saver = callbacks.Checkpointer(tmp_path, [], first_step=9)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(callbacks.Preempted, match="after step 9") as stop:
        with stopping.stopped_by_signals(saver):
            # Not a signal, which would end all tests if nobody handled it.
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
    assert stop.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def _raise_keyboard_interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_loss_that_explodes_ends_the_run_with_its_step(folder, tmp_path):
    with pytest.raises(FloatingPointError, match="at step [1-9]; .* Try"):
        _train(folder, tmp_path, learning_rate_per_256=1e30, epochs=9)
    # What was saved before is sound.
    for path in checkpoints.list_newest(tmp_path / "checkpoints"):
        with np.load(path / checkpoints.STATE_FILE) as archive:
            assert all(np.isfinite(archive[n]).all() for n in archive.files)


@pytest.mark.slow  # test_teachers.py has the losses.
def test_the_teacher_is_learned_from(folder, tmp_path):
    _train(folder, tmp_path / "teacher")
    row = _train(folder, tmp_path / "student", teacher=f"{tmp_path}/teacher")
    metrics = _lines(tmp_path / "student" / train.run_folder.METRICS_FILE)
    assert all(line["distillation"] > 0 for line in metrics)
    plain = _lines(tmp_path / "teacher" / train.run_folder.METRICS_FILE)
    assert metrics[0]["loss"] != plain[0]["loss"]
    assert np.isfinite(row["loss"])


REFUSED = {
    "more in a batch than there are": (
        {"batch_size": 16},
        "batch_size=16 is more than the 14 training images",
    ),
    "more to hold out than there are": (
        {"minival_images": 90},
        "minival_images=90 cannot be held out of 14 training images; set "
        "fewer, such as --set=minival_images=1, or 0 for none",
    ),
    "an unknown teacher": (
        {"teacher": "b9"},
        "Unknown teacher 'b9'; give MODEL:WEIGHTS",
    ),
}


@pytest.mark.parametrize("changes,message", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _train(folder, tmp_path, **changes)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"xla": "onn"}, "Unknown XLA setting 'onn'; choose one of auto, on"),
        ({"data_service": "host:1"}, "='host:1' must begin with grpc://"),
    ],
)
def test_a_mistyped_setting_is_refused_before_anything_is_loaded(
    tmp_path, monkeypatch, changes, message
):
    loaded = []
    monkeypatch.setattr(train.sources, "load", lambda *a: loaded.append(a))
    monkeypatch.setattr(train, "_set_up", lambda *a: loaded.append(a))
    workdir = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train.train_and_evaluate(
            "tiny", "digits", config=CONFIG, workdir=workdir, **changes
        )
    assert not loaded and not workdir.exists()


@pytest.mark.slow
def test_a_workdir_of_another_run_is_refused(folder, tmp_path):
    _train(folder, tmp_path, epochs=2, warmup_epochs=0.0)
    with pytest.raises(ValueError, match="holds another run: epochs=2 there"):
        _train(folder, tmp_path, epochs=3, warmup_epochs=0.0)


def test_tensorboard_gets_scalars_images_a_profile_and_the_config(
    folder, tmp_path
):
    _train(folder, tmp_path, profile_steps=(2, 3))
    tags = set()
    for file in (tmp_path / "tensorboard").rglob("events.*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags |= {value.tag for value in event.summary.value}
    assert {"config", "images/augmented"} <= tags
    assert "accuracy/top1_validation_average" in tags
    # The first chart is the accuracy.
    assert min(tags) == "accuracy/top1_train"
    assert "training/gradient_norm" in tags
    # Where the profile plugin looks for it.
    plugin = tmp_path / "tensorboard/train/plugins/profile"
    (profile,) = plugin.glob("*/*.xplane.pb")
    assert b"multi_step_on_iterator" in profile.read_bytes()


def _arguments(folder, workdir, how, step, config=CONFIG):
    flags = [
        f"--set={field.name}={_text(getattr(config, field.name))}"
        for field in dataclasses.fields(config)
    ]
    return [
        sys.executable,
        str(paths.SUPPORT / "interrupted_train.py"),
        how,
        str(step),
        "--recipe=smoke",
        f"--dataset=folder:{folder}",
        "--eval_split=test",
        f"--workdir={workdir}",
        *flags,
    ]


def _command(folder, workdir, how, step):
    return subprocess.run(
        _arguments(folder, workdir, how, step), capture_output=True, text=True
    )


def _text(value):
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


@pytest.mark.slow
def test_the_same_command_goes_on_after_every_kind_of_interrupt(
    folder, tmp_path
):
    workdir = tmp_path / "run"
    stops = [
        # How, at which step, exit code, the step of the newest checkpoint.
        ("SIGKILL", 5, -signal.SIGKILL, STEPS),
        ("SIGTERM", 4, 75, 4),
        ("SIGINT", 7, 130, 7),
    ]
    for how, step, code, newest in stops:
        done = _command(folder, workdir, how, step)
        assert done.returncode == code, done.stderr
        assert _state(workdir)[0] == f"step_{newest:09d}"
        if code > 0:
            assert (
                "same command again to resume" in done.stderr.splitlines()[-1]
            )
    done = _command(folder, workdir, "never", 0)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["epochs"] == 3
    _train(folder, tmp_path / "whole")
    _assert_same_state(tmp_path / "whole", workdir)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(folder, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=40, checkpoint_minutes=1e-9)
    workdir = tmp_path / "run"
    arguments = _arguments(folder, workdir, "never", 0, config)
    moments = random.Random(0)
    kills, steps = 0, []
    while kills < 20:
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        # It writes a checkpoint after every step: most kills hit one.
        while process.poll() is None and _newest_step(workdir) == (
            steps[-1] if steps else 0
        ):
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "ended before the kill"
        kills += 1
        steps.append(_newest_step(workdir))
    assert steps == sorted(set(steps))
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(workdir.rglob(".tmp-*"))
    _train(folder, tmp_path / "whole", config)
    _assert_same_state(tmp_path / "whole", workdir)


def _newest_step(workdir):
    newest = checkpoints.list_newest(workdir / "checkpoints")[:1]
    return int(newest[0].name.removeprefix("step_")) if newest else 0


def _launch(folder, workdir, how, step):
    launcher = paths.SCRIPTS / "launch_local.py"
    config = dataclasses.replace(CONFIG, epochs=8)
    _, *program = _arguments(folder, workdir, how, step, config)
    return subprocess.run(
        [
            sys.executable,
            str(launcher),
            "--workers=2",
            "--grace_seconds=20",
            "--",
            *program,
            "--strategy=multi_worker",
        ],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_two_workers_go_on_after_either_is_killed_or_all_are_asked_to_stop(
    folder, tmp_path
):
    workdir = tmp_path / "run"
    stops = [("SIGKILL@1", 5, 137), ("SIGKILL@0", 8, 137)]
    for how, step, code in stops:
        done = _launch(folder, workdir, how, step)
        assert done.returncode == code, done.stderr
        assert _newest_step(workdir) == step // STEPS * STEPS
    done = _launch(folder, workdir, "SIGTERM@parent", 10)
    assert done.returncode == 75, done.stderr
    # The signal takes a way over the parent.
    assert 10 <= _newest_step(workdir) < 24
    assert "Saved after step" in done.stderr
    done = _launch(folder, workdir, "never", 0)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["replicas"], row["epochs"]) == (2, 8)
    assert _launch(folder, tmp_path / "whole", "never", 0).returncode == 0
    _assert_same_state(tmp_path / "whole", workdir)
