"""JSON that a run has left, with damaged or foreign parts."""

import os
import time

import numpy as np
import pytest

from efficientnet_tf.measure import cache
from efficientnet_tf.training import progress
from efficientnet_tf.utils import figures, files, run_folder, untrusted
from transfer.choice import auto

ROW = b'{"epoch": 1, "seconds": 2.0, "finished": 3.0, "loss": 0.5}\n'
# Lines that no run writes, wherever they stand.
FOREIGN = [
    b"nonsense\n",
    b"\xff\xfe\x00\n",
    b"5\n",
    b"null\n",
    b"[1, 2]\n",
    b'{"epoch": "1", "seconds": 2.0, "finished": 3.0}\n',
    b'{"epoch": true, "seconds": 2.0, "finished": 3.0}\n',
    b'{"seconds": 2.0}\n',
    b"9" * 5000 + b"\n",
    b"[" * 100_000 + b"\n",
    ROW[:30] + b"\n",
    ROW[:30] + ROW,
]


@pytest.mark.parametrize("line", FOREIGN, ids=[f[:12] for f in FOREIGN])
def test_a_foreign_line_is_named_and_no_row_is_lost(line, tmp_path, caplog):
    path = tmp_path / run_folder.METRICS_FILE
    content = ROW + line + ROW
    path.write_bytes(content)
    for _ in range(3):
        rows = run_folder.read_metrics(path)
        assert [row["loss"] for row in rows] == [0.5, 0.5]
    (record,) = caplog.records  # Once, however often it is read.
    assert "metrics.jsonl, line 2 is left out" in record.message
    assert len(record.message) < 500
    files.append_json_line(path, {"epoch": 2})
    assert path.read_bytes().startswith(content)


def test_a_torn_last_line_is_dropped_without_a_word(tmp_path, caplog):
    path = tmp_path / run_folder.METRICS_FILE
    for end in range(1, len(ROW) - 2):
        path.write_bytes(ROW + ROW[:end])
        assert len(run_folder.read_metrics(path)) == 1
    assert not caplog.records


def test_a_value_that_is_no_number_is_not_drawn(tmp_path):
    path = tmp_path / run_folder.METRICS_FILE
    path.write_bytes(ROW + ROW.replace(b"0.5", b'"x"') + ROW)
    rows = run_folder.read_metrics(path)
    assert [row.get("loss") for row in rows] == [0.5, None, 0.5]
    image = figures.curves_image(rows, {"loss": ["loss"]})
    assert image.std() > 0


def test_a_foreign_result_is_named(tmp_path):
    path = tmp_path / run_folder.RESULTS_FILE
    for row in ({"a": 1}, {"score": "high"}, {"score": True}, {"failed": "x"}):
        files.write_json_lines(path, [row])
        found = run_folder.last_result(tmp_path)
        with pytest.raises(OSError, match="damaged: its last row has no score"):
            run_folder.check_result(tmp_path, found, {"score": float})
    run_folder.check_result(tmp_path, {"score": 1}, {"score": float})


DOCUMENTS = [
    (b"[1]", "must hold a JSON object, not a list"),
    (b"7", "must hold a JSON object, not 7"),
    (b"", "is not JSON: .*"),
    (b'{"a": ', "is not JSON: .*"),
    (b"\xff{}", "is not JSON: .*"),
    (b"[" * 100_000, "is nested too deeply"),
]


@pytest.mark.parametrize("data,message", DOCUMENTS)
def test_a_damaged_config_or_plan_ends_in_one_line(data, message, tmp_path):
    path = tmp_path / run_folder.CONFIG_FILE
    path.write_bytes(data)
    message = f"config.json {message}.$"
    with pytest.raises(untrusted.DamagedError, match=message):
        run_folder.start_run(tmp_path, {"epochs": 1})
    with pytest.raises(untrusted.DamagedError, match=message):
        run_folder.read_group_by(tmp_path, "digits")


def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path):
    for name in (run_folder.CONFIG_FILE, run_folder.RESULTS_FILE):
        os.mkfifo(tmp_path / name)
    begin = time.monotonic()
    with pytest.raises(OSError, match="config.json is a FIFO, not a file"):
        run_folder.start_run(tmp_path, {"epochs": 1})
    with pytest.raises(OSError, match="results.jsonl is a FIFO, not a file"):
        run_folder.last_result(tmp_path)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"config": [], "kept": "linear", "why": "", "tried": ""}',
        '{"config": {"x": 1}, "kept": "linear", "why": "", "tried": ""}',
        '{"config": {"epochs": "y"}, "kept": "linear", "why": "", "tried": ""}',
        '{"config": {}, "why": "", "tried": ""}',
    ],
)
def test_a_damaged_comparison_ends_in_one_line(text, tmp_path):
    path = tmp_path / auto.CHOICE_FILE
    path.write_text(text)
    with pytest.raises(untrusted.DamagedError, match="choice.json"):
        auto.read_choice(path)


def test_measurements_that_cannot_be_read_are_none(tmp_path, caplog):
    path = tmp_path / cache.CACHE_FILE
    assert cache._read(path) == []
    assert not caplog.records
    path.write_bytes(b'{"part": "x"}\n{"measured": {"a": 1}}\n')
    assert cache._read(path) == [{"measured": {"a": 1}}]
    path.unlink()
    path.mkdir()
    assert cache._read(path) == []
    assert "is a folder, not a file" in caplog.text


def test_a_clock_that_is_set_back_or_forward_changes_no_duration(
    tmp_path, monkeypatch
):
    path = tmp_path / run_folder.METRICS_FILE
    begin = time.perf_counter()
    for jump in (-1e6, 1e6):
        lines = progress.JsonLines(path)
        lines.on_epoch_begin(0)
        now = time.time() + jump
        monkeypatch.setattr(time, "time", lambda now=now: now)
        lines.on_epoch_end(0)
        monkeypatch.undo()
    rows = run_folder.read_metrics(path)
    assert all(0 <= row["seconds"] < 1 for row in rows)
    # They are of this process, since `begin`: not counted twice.
    assert 0 <= progress.total_seconds([path], begin) < 10
    later = time.perf_counter()
    before = sum(row["seconds"] for row in rows)
    total = progress.total_seconds([path], later)
    np.testing.assert_allclose(total, before, atol=0.5)
    # Those of an earlier process always are.
    path.write_bytes(ROW)
    assert progress.total_seconds([path], later) >= 2
