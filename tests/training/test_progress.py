import io
import json
import re
import time

import keras
import numpy as np
import pytest

import line_fit
from efficientnet_tf.training import progress, schedules


def test_a_line_after_each_epoch_says_what_people_watch(capsys):
    watchers = [progress.Throughput(8), progress.Progress(5)]
    line_fit.fit(line_fit.compile_line(), watchers, 3, done=1)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "Epoch 2/5",
        "Epoch 3/5",
    ]
    number = r"[\d.,e-]+"
    pattern = (
        rf"Epoch 3/5: loss {number}, {number} images/s, learning rate {number},"
        r" \d+ s; about \d+ s left"
    )
    assert re.fullmatch(pattern, lines[1])
    # Not a terminal.
    assert captured.err == ""


def test_a_terminal_sees_a_bar_of_each_epoch(monkeypatch, capsys):
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    terminal = io.StringIO()
    # tqdm draws ten times a second at most.
    slow = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: time.sleep(0.11)
    )
    watchers = [slow, progress.Throughput(8), progress.Progress(2, terminal)]
    line_fit.fit(line_fit.compile_line(), watchers, 2)
    shown = terminal.getvalue()
    assert f"Epoch 1/2:   0%|          | 0/{line_fit.STEPS}" in shown
    assert re.search(
        rf"Epoch 2/2: 100%.* {line_fit.STEPS}/{line_fit.STEPS} .*, loss \d",
        shown,
    )
    assert capsys.readouterr().out.count("Epoch") == 2


def test_logs_say_the_learning_rate_and_the_images_a_second(tmp_path):
    network = line_fit.compile_line()
    path = tmp_path / "metrics.jsonl"
    watchers = [progress.Throughput(8), progress.JsonLines(path)]
    line_fit.fit(network, watchers, 3)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    schedule = schedules.warmup_cosine(0.1, 20, 5)
    for row in rows:
        expected = float(schedule(line_fit.STEPS * row["epoch"]))
        assert row["learning_rate"] == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(row["loss"])
        # All images of the epoch, in at most the time that it took.
        assert row["images_per_second"] * row["seconds"] >= 8 * line_fit.STEPS
        assert row["images_per_second"] < 1e7
    assert rows[0]["finished"] < rows[1]["finished"] < rows[2]["finished"]
