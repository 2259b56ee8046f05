"""Searches for a baseline in a database that several machines share."""

import contextlib
import dataclasses
import logging
import time
import urllib.parse

import pytest

import postgres

optuna = pytest.importorskip("optuna")

from efficientnet_tf.search.architect import (  # noqa: E402
    databases,
    evaluators,
    objectives,
    plans,
    runs,
    storages,
    tabular,
)
from efficientnet_tf.utils import workers  # noqa: E402


@pytest.fixture(scope="module")
def server():
    with postgres.running() as port:
        yield port


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/search.db"
    port = request.getfixturevalue("server")
    password = urllib.parse.quote(postgres.PASSWORD, safe="")
    return f"postgresql://{postgres.USER}:{password}@127.0.0.1:{port}/postgres"


@pytest.fixture
def plan(monkeypatch):
    def evaluate(job):
        if job.genotype[0] == 2:
            raise FloatingPointError("The loss is NaN.")
        return {"score": 1 + sum(job.genotype), "multiply_adds": 1}

    row = evaluators.Evaluator(evaluate, "accuracy", needs_space=False)
    monkeypatch.setitem(evaluators.EVALUATORS, "fake", row)
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)
    objective = objectives.Objective(5, "mnas_hard")
    return plans.Plan(
        None, tabular.SIZES, objective, "random", "fake", trials=5
    )


def list_ends(plan, storage):
    rows = runs.read_rows(plan, storage)
    return [(row["genotype"], row.get("failed"), row["number"]) for row in rows]


def test_a_search_in_a_database_is_that_in_files(address, plan, tmp_path):
    files = storages.Files(tmp_path)
    runs.work(plan, tmp_path, None, storage=files)
    for trials in (2, 5):  # Stopped, and resumed by another machine.
        part = dataclasses.replace(plan, trials=trials)
        database = databases.Database(address, "same", part)
        runs.work(part, tmp_path, None, storage=database)
    assert list_ends(plan, database) == list_ends(plan, files)
    assert any(failed for _, failed, _ in list_ends(plan, files))
    with pytest.raises(ValueError, match="seed=0 there, 1 here") as caught:
        other = dataclasses.replace(plan, seed=1)
        databases.Database(address, "same", other)
    assert postgres.PASSWORD not in str(caught.value)


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_a_dead_process_is_found_by_its_heartbeat(
    address, plan, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(databases, "GRACE_SECONDS", 1)
    dead = databases.Database(address, "dead", plan)
    lives = databases.Database(address, "dead", plan)
    with contextlib.ExitStack() as held:
        with dead.lock():
            dead.add(0, (0,) * 8, {})
            assert dead.hold(0, held)
        with lives.lock(), contextlib.ExitStack() as other:
            assert not lives.hold(0, other)
        time.sleep(1.1)
        runs.work(plan, tmp_path, None, storage=lives)
        with lives.attempt(0) as attempts:
            assert attempts == 2  # One was killed, and what is begun here.
        # It was only slow.
        with caplog.at_level(logging.WARNING), dead.lock():
            dead.end(0, {"score": 99.0, "cost": 1.0})
    assert "left out" in caplog.text
    rows = runs.read_rows(plan, lives)
    assert sorted(row["number"] for row in rows) == list(range(5))
    assert [r["score"] for r in rows if r["number"] == 0] == [1]


def test_an_attempt_that_was_stopped_is_no_kill(plan, tmp_path):
    address = f"sqlite:///{tmp_path}/search.db"
    database = databases.Database(address, "stopped", plan)
    with (
        pytest.raises(KeyboardInterrupt),
        contextlib.ExitStack() as held,
    ):
        with database.lock():
            database.add(0, (1,) * 8, {})
            assert database.hold(0, held)
        raise KeyboardInterrupt
    with database.lock(), contextlib.ExitStack() as held:
        assert database.hold(0, held)
        with database.attempt(0) as attempts:
            assert attempts == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hello", "is no address such as postgresql://"),
        ("postgresql://me:s3cr@t@host/db", "write @ as %40"),
        ("postgresql://me:12@s3cr/x@host/db", "write @ as %40"),
        ("postgresql://me:s3cr@host:port/db", "is no address"),
        ("mysql://me:s3cr@host/db", "Unknown kind of --storage 'mysql'"),
        ("postgresq://me:s3cr@host/db", "'postgresq'.*'postgresql'"),
        ("postgresql://me:s3cr@host", "names no database"),
        ("sqlite://", "names no database"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(address, message):
    with pytest.raises(ValueError, match=message) as caught:
        databases.read_address(address)
    assert "s3cr" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_used_is_one_line(server, plan, tmp_path):
    (tmp_path / "text.db").write_text("This is no database." * 99)
    at = f"127.0.0.1:{server}/postgres"
    cases = {
        f"postgresql://{postgres.USER}:wr0ng@{at}": "password authentication",
        f"postgresql://{postgres.USER}:wr0ng@127.0.0.1:1/db": "refused",
        f"postgresql://127.0.0.1:{server}/wr?password=wr0ng": "failed",
        f"sqlite:///{tmp_path}/text.db": "not a database",
        f"sqlite:///{tmp_path}/none/x.db": "no folder",
    }
    for address, message in cases.items():
        with pytest.raises(OSError, match=message) as caught:
            databases.Database(address, "none", plan)
        assert "wr0ng" not in str(caught.value)
        assert "\n" not in str(caught.value)
