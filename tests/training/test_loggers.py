import json

import keras
import numpy as np
import pytest

from efficientnet_tf.training import callbacks, cluster, loggers
from efficientnet_tf.utils import extras, files

ROW = {"task": "digits", "score": 0.5, "epochs": 2, "complete": None}
ROW |= {"xla": False, "seconds": 3.0, "class_names": ["a"], "bad": float("nan")}


class Stub:
    """Remembers what it is told; fails in what is named in `broken`."""

    told: list = []
    broken: tuple = ()

    def __getattr__(self, name):
        def tell(*arguments):
            self.told.append((name, *arguments))
            if name in self.broken:
                raise OSError("the server\nis gone")
            return "run 7"

        return tell


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(Stub, "told", [])
    monkeypatch.setattr(Stub, "broken", ())
    monkeypatch.setitem(loggers.LOGGERS, "stub", Stub)
    return Stub


def _write_run(folder):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"task": "digits"}))


def _fit(tracker, first=0, epochs=2):
    """Calls the callbacks as `fit` does, which takes longer."""
    for callback in tracker.callbacks():
        callback.on_train_begin({})
        for epoch in range(first, epochs):
            callback.on_epoch_end(epoch, {"loss": np.float32(1 / (1 + epoch))})
        callback.on_train_end({})


def _names(told):
    return [name for name, *_ in told]


def test_a_run_is_told_from_config_to_last_row(stub, tmp_path):
    _write_run(tmp_path)
    with loggers.tracking(["stub", "stub"], tmp_path) as tracker:
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        network.compile("sgd", "mse")
        x, y = np.ones((4, 2)), np.ones((4, 1))
        watchers = tracker.callbacks()
        network.fit(x, y, epochs=2, verbose=0, callbacks=watchers)
        tracker.finish(ROW, [tmp_path / "model.keras"])
    assert _names(stub.told) == [
        "check", "open", "log_config", "log", "log", "log", "log_texts",
        "log_files", "close",
    ]  # fmt: skip
    assert stub.told[1][1:] == (None, tmp_path)
    assert stub.told[2][1] == {"task": "digits"}
    first, second, last = stub.told[3:6]
    assert (first[2], second[2]) == (1, 2)
    assert second[1]["loss"] < first[1]["loss"]
    assert last[1:] == (
        {"result/score": 0.5, "result/epochs": 2, "result/seconds": 3.0},
        2,
    )
    assert stub.told[6][1] == {"result/task": "digits"}
    assert stub.told[-1][1] == "FINISHED"
    # Once more: it is finished there, too.
    del stub.told[:]
    with loggers.tracking(["stub"], tmp_path) as tracker:
        tracker.finish(ROW)
    assert stub.told == []


@pytest.mark.parametrize(
    "error,status",
    [
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (callbacks.Preempted("Saved."), "KILLED"),
        (FloatingPointError("NaN"), "FAILED"),
    ],
)
def test_a_resumed_run_goes_on_in_the_same(stub, tmp_path, error, status):
    _write_run(tmp_path)
    with pytest.raises(type(error)):
        with loggers.tracking(["stub"], tmp_path) as tracker:
            _fit(tracker, epochs=1)
            raise error
    assert stub.told[-1] == ("close", status)
    del stub.told[:]
    with loggers.tracking(["stub"], tmp_path) as tracker:
        _fit(tracker, first=1)
        tracker.finish(ROW)
    # Not checked again, since its server may be gone for a while.
    assert stub.told[0] == ("open", "run 7", tmp_path)
    assert [told[2] for told in stub.told if told[0] == "log"] == [2, 2]
    assert "log_config" not in _names(stub.told)


def test_a_logger_that_comes_late_learns_of_earlier_epochs(stub, tmp_path):
    _write_run(tmp_path)
    row = {"loss": 0.5, "seconds": 1.0, "clock": 9.0, "process": 3}
    for epoch in (1, 2):
        files.append_json_line(
            tmp_path / "metrics.jsonl", {"epoch": epoch, **row}
        )
    with loggers.tracking(["stub"], tmp_path) as tracker:
        tracker.finish(ROW)
    logged = [told[1:] for told in stub.told if told[0] == "log"]
    assert logged[:2] == [({"loss": 0.5, "seconds": 1.0}, e) for e in (1, 2)]


@pytest.mark.parametrize("where", ["open", "log_config", "log", "close"])
def test_a_logger_that_fails_is_one_warning_and_the_run_goes_on(
    stub, tmp_path, caplog, where
):
    _write_run(tmp_path)
    stub.broken = (where,)
    with loggers.tracking(["stub"], tmp_path) as tracker:
        _fit(tracker)
        tracker.finish(ROW)
    (record,) = caplog.records
    assert record.getMessage() == (
        "--logger=stub failed, and the run goes on without it: the server is "
        "gone."
    )
    assert _names(stub.told)[-1] == where


def test_a_new_run_asks_first_whether_its_logger_answers(stub, tmp_path):
    stub.broken = ("check",)
    with pytest.raises(RuntimeError, match="--logger=stub: the server is gone"):
        with loggers.tracking(["stub"], tmp_path):
            raise AssertionError
    assert list(tmp_path.iterdir()) == []


def test_names_and_packages_are_checked_before_any_work(monkeypatch):
    loggers.check([])
    with pytest.raises(ValueError, match="Unknown logger 'mlfow'.*'mlflow'?"):
        loggers.check(["mlfow"])
    monkeypatch.setattr(extras, "is_installed", lambda name: False)
    with pytest.raises(
        ModuleNotFoundError, match=r'need wandb .*"efficientnet-tf\[wandb\]"'
    ):
        loggers.check(["wandb"])


@pytest.mark.parametrize(
    "chiefs,kind,index,expected",
    [
        (0, "worker", 0, True),
        (0, "worker", 1, False),
        (1, "chief", 0, True),
        (1, "worker", 0, False),
    ],
)
def test_one_of_several_workers_records(
    monkeypatch, chiefs, kind, index, expected
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster.is_chief()
    found = {"worker": ["a:1", "b:1"]}
    if chiefs:
        found["chief"] = ["c:1"]
    task = {"type": kind, "index": index}
    config = json.dumps({"cluster": found, "task": task})
    monkeypatch.setenv("TF_CONFIG", config)
    assert cluster.is_chief() == expected


def _run_twice(name, folder):
    """A run that is interrupted after an epoch, and ends."""
    _write_run(folder)
    with pytest.raises(KeyboardInterrupt):
        with loggers.tracking([name], folder) as tracker:
            _fit(tracker, epochs=1)
            raise KeyboardInterrupt
    with loggers.tracking([name], folder) as tracker:
        _fit(tracker, first=1)
        tracker.finish(ROW, [folder / "config.json"])
    return json.loads((folder / loggers.FILE).read_text())[name]


@pytest.mark.filterwarnings("ignore")  # What others' packages warn of.
def test_mlflow_has_the_run_in_its_own_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    known = _run_twice("mlflow", tmp_path / "run")
    (found,) = mlflow.search_runs(output_format="list")
    assert found.info.run_id == known["run"] and known["finished"]
    assert found.info.run_name == "run"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"task": "digits"}
    assert found.data.metrics["result/score"] == 0.5
    assert found.data.tags["result/task"] == "digits"
    client = mlflow.MlflowClient()
    history = client.get_metric_history(known["run"], "loss")
    assert [metric.step for metric in history] == [1, 2]
    (kept,) = client.list_artifacts(known["run"], "model")
    assert kept.path == "model/config.json"


@pytest.mark.filterwarnings("ignore")
def test_wandb_has_the_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    known = _run_twice("wandb", tmp_path / "run")
    assert known["finished"]
    kept = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    # Two processes, one run, which `wandb sync` joins.
    assert [path.name for path in kept] == [f"run-{known['run']}.wandb"] * 2
    first, second = (path.read_bytes() for path in kept)
    assert b"loss" in first and b"digits" in first
    assert b"result/score" in second and b"result/score" not in first
