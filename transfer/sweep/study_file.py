"""Optuna's database of a grid's searches, and the log it is rebuilt from.

Each trial that ends is a line of the log, "trials/CELL.jsonl", before the
database gets it: what the database lacks or has wrong is put right from there,
and one that is gone or damaged is made anew.
"""

import contextlib
import os
import pathlib
import sqlite3
import uuid
from typing import Any

import optuna
from absl import logging

from efficientnet_tf.utils import files

STUDY_FILE = "study.db"
LOG_FOLDER = "trials"
# Begins the attributes of a study that name trials whose process was killed.
KILLED = "killed-"
DAMAGED = ".damaged"
# SQLite's own files beside it, which would be taken for those of a new one.
_PARTS = ("", "-journal", "-wal", "-shm")

# Seconds to wait for other programs, before and after a line says so.
QUIET_SECONDS, MORE_SECONDS = 5, 55
REPORT_SECONDS = 10

# What is wrong with the disk, not with the content.
_DISK = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

# Of a line in the log. The other fields may be empty.
_FIELDS = {"id": str, "state": str, "params": dict, "point": dict}
_STATES = ("COMPLETE", "PRUNED", "FAIL")


# (path, inode) of files whose tables this process has checked.
_known: set[tuple[str, int] | None] = set()


class _Damaged(Exception):
    """The file holds no study that can be used."""


def exists(workdir: pathlib.Path, name: str) -> bool:
    """Whether a study has begun, whatever has become of the database."""
    return (workdir / STUDY_FILE).exists() or _log(workdir, name).exists()


def open_study(
    workdir: pathlib.Path, name: str, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """Returns the study of a cell, which agrees with its log.

    Call it under the lock of the storage.

    Args:
      workdir: the grid's folder.
      name: the cell's.
      pruner: of the study.

    Raises:
      RuntimeError: the database is locked, or cannot be read or written.
    """
    path, rows = workdir / STUDY_FILE, _read_log(workdir, name)
    try:
        _check_file(path)
        study = _load(path, name, pruner, rows)
        _check_trials(study, rows)
    except _Damaged as error:
        logging.warning(
            "%s is damaged (%s): it is kept as %s%s, and made anew from the "
            "results.",
            path,
            error,
            path.name,
            DAMAGED,
        )
        for part in _PARTS:
            with contextlib.suppress(FileNotFoundError):
                _move(f"{path}{part}")
        study = _load(path, name, pruner, rows)
    _complete(study, rows)
    if not rows:  # An earlier version kept no log.
        for trial in list_ended(study):
            log_end(
                workdir,
                name,
                trial,
                state=trial.state.name,
                value=trial.value,
                rounds=trial.intermediate_values,
            )
    return study


def list_ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Returns the trials that ended, without those that were killed."""
    killed = study.user_attrs
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished() and f"{KILLED}{trial.number}" not in killed
    ]


def make_id() -> str:
    """Returns what tells a trial from all others, in its `user_attrs`."""
    return uuid.uuid4().hex


def log_end(
    workdir: pathlib.Path,
    name: str,
    trial: optuna.Trial,
    **outcome: Any,
) -> None:
    """Appends a trial that has ended to the log of its study.

    Args:
      workdir: the grid's folder.
      name: the study's.
      trial: with "id" and "point" in its `user_attrs`.
      **outcome: "state", a name of `optuna.trial.TrialState`; "value", the
        score or None; "rounds", the scores after each.
    """
    row = {
        "id": _identity(trial),
        "point": trial.user_attrs.get("point", {}),
        "params": trial.params,
        "distributions": {
            key: optuna.distributions.distribution_to_json(value)
            for key, value in trial.distributions.items()
        },
        **outcome,
    }
    files.append_json_line(_log(workdir, name), row)


def _identity(trial):
    # An earlier version had only numbers, which a rebuilt study gives anew.
    return trial.user_attrs.get("id", f"trial {trial.number}")


def _log(workdir, name):
    return workdir / LOG_FOLDER / f"{name}.jsonl"


def _read_log(workdir, name):
    """Returns the trials that have ended, {id: `FrozenTrial`}."""
    path = _log(workdir, name)
    if not path.exists():
        return {}
    found = {}
    for row in files.read_json_lines(path, _FIELDS):
        try:
            found[row["id"]] = _to_trial(row)
        # Optuna checks it, and raises what it likes.
        except Exception as error:
            logging.warning("%s: a trial is left out: %s", path, error)
    return found


def _to_trial(row):
    if row["state"] not in _STATES:
        raise ValueError(f"its state is {row['state']!r}")
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[row["state"]],
        value=row.get("value"),
        params=row["params"],
        distributions={
            name: optuna.distributions.json_to_distribution(text)
            for name, text in row["distributions"].items()
        },
        user_attrs={"id": row["id"], "point": row["point"]},
        system_attrs={"fixed_params": row["params"]},
        intermediate_values={
            int(step): score for step, score in row["rounds"].items()
        },
    )


def _check_file(path):
    """Raises _Damaged, or RuntimeError if SQLite cannot work with it."""
    if not path.is_file():
        if os.path.lexists(path):
            raise _Damaged("it is no regular file")
        return
    try:
        try:
            _probe(path, QUIET_SECONDS)
        except sqlite3.OperationalError as error:
            if _code(error) not in _LOCKED:
                raise
            logging.warning(
                "%s is locked by another program; waiting for %d s more.",
                path,
                MORE_SECONDS,
            )
            _probe(path, MORE_SECONDS)
    except sqlite3.Error as error:
        if _code(error) in _LOCKED:
            raise RuntimeError(
                f"{path} is locked by another program, such as a viewer or a "
                "backup; end it, and run the same command again."
            ) from None
        if _code(error) in _DISK:
            raise RuntimeError(f"{path} cannot be used: {error}.") from None
        raise _Damaged(error) from None


def _probe(path, seconds):
    """Reads all of the file, under the lock of a writer."""
    with contextlib.closing(sqlite3.connect(path, timeout=seconds)) as base:
        base.execute("BEGIN IMMEDIATE")
        (found,) = base.execute("PRAGMA integrity_check(1)").fetchone()
        base.rollback()
    if found != "ok":
        raise _Damaged(" ".join(str(found).split()))


def _code(error):
    # The low byte of an extended code is the plain one.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _load(path, name, pruner, rows):
    """Returns the study as the file has it; it is made if there is none."""
    known = _find_known(path) in _known
    try:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(
                f"sqlite:///{path}",
                engine_kwargs={"connect_args": {"timeout": REPORT_SECONDS}},
                # They take longer than all else.
                skip_compatibility_check=known,
                skip_table_creation=known,
            ),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner,
        )
        study.get_trials()
    # SQLAlchemy, and JSON in the columns, raise whatever a flipped bit makes.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _Damaged(lines[0]) from error
    _known.add(_find_known(path))
    return study


def _find_known(path):
    return (str(path), path.stat().st_ino) if path.exists() else None


def _check_trials(study, rows):
    """Raises _Damaged for a trial that did not end as its log says.

    SQLite has no check sums.
    """
    for trial in list_ended(study) if rows else ():
        logged = rows.get(_identity(trial))
        if logged is None or not _agree(trial, logged):
            raise _Damaged(f"trial {trial.number} is not as it ended")


def _agree(one, other):
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("state", "value", "params", "intermediate_values")
    )


def _complete(study, rows):
    """Adds what only the log knows."""
    there = {_identity(t): t for t in study.get_trials(deepcopy=False)}
    for key, logged in rows.items():
        if key not in there:
            study.add_trial(logged)
        elif not there[key].state.is_finished():
            study.tell(there[key].number, logged.value, logged.state)


def _move(path):
    target = f"{path}{DAMAGED}"
    if os.path.isdir(target) and not os.path.islink(target):
        files.remove(pathlib.Path(target))
    os.replace(path, target)
