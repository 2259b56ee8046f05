"""Candidates of a search in a database, for several machines.

A study of Optuna's: a trial is an attempt at a candidate, its heartbeat says
that its process lives. Not one that is optimized by `study.optimize`, which
would neither know our searchers nor hold a lock while one asks.
"""

import contextlib
import dataclasses
import pathlib
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import filelock
import optuna
import sqlalchemy
from absl import logging
from optuna.trial import TrialState

from efficientnet_tf.search.architect import (
    optuna_searchers,
    plans,
    spaces,
    storages,
)
from efficientnet_tf.utils import configs, extras, files, run_folder

# A process without a heartbeat for so long is dead; its candidate is retried.
HEARTBEAT_SECONDS, GRACE_SECONDS = 20, 120
POSTGRESQL, SQLITE = "postgresql+psycopg2", "sqlite"
KINDS = ("postgresql", POSTGRESQL, SQLITE)

# Of a machine that lost its power the server hears nothing: by default it keeps
# its locks for two hours.
_KEEPALIVE = {"idle": 60, "interval": 10, "count": 6}
_POSTGRESQL = {
    "connect_timeout": 10,
    "options": " ".join(
        f"-c tcp_keepalives_{name}={value}"
        for name, value in _KEEPALIVE.items()
    ),
    **{f"keepalives_{name}": value for name, value in _KEEPALIVE.items()},
}
_SQLITE = {"timeout": 60}  # Seconds to wait for another writer.

# Attributes of a study and of its trials.
_PLAN = "plan"
_NUMBER, _NOTES = "number", "notes"
_OUTCOME, _ORDER = "outcome", "order"
_GIVEN_BACK = "given_back"  # Its process was stopped, not killed.


def read_address(address: str) -> sqlalchemy.URL:
    """Returns the URL of a database.

    Raises:
      ValueError: it is none, or of another kind. The message has no password.
    """
    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    # "@" and "/" in a password end it early: no part may be shown then.
    if url is None or any("@" in (p or "") for p in (url.host, url.database)):
        raise ValueError(
            "--storage is no address such as postgresql://USER@HOST:PORT/NAME "
            "or sqlite:///FILE; in a password, write @ as %40 and / as %2F."
        )
    if url.drivername not in KINDS:
        raise ValueError(
            configs.unknown("kind of --storage", url.drivername, KINDS)
        )
    if not url.database or url.database == ":memory:":
        raise ValueError(
            "--storage names no database: postgresql://USER@HOST:PORT/NAME or "
            "sqlite:///FILE."
        )
    if url.drivername == SQLITE:
        extras.require("Searches in a database", "optuna")
        return url
    extras.require("Searches in a PostgreSQL database", "optuna", "psycopg2")
    return url.set(drivername=POSTGRESQL)


class Database(storages.Storage):
    """The candidates of a search, in a study of a database.

    Args:
      address: of the database.
      study: its name there.
      plan: of the search.

    Raises:
      ValueError: the address is wrong, or the study is of another search.
      OSError: the database cannot be used. No message has the password.
    """

    def __init__(self, address: str, study: str, plan: plans.Plan):
        self._url = read_address(address)
        self._distributions = optuna_searchers.distributions(plan.sizes)
        if self._url.drivername == SQLITE:
            folder = pathlib.Path(self._url.database or "").parent
            if not folder.is_dir():
                raise OSError(f"--storage={self._show()}: no folder {folder}.")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        arguments = _SQLITE if self._url.drivername == SQLITE else _POSTGRESQL
        self._options: dict[str, Any] = {
            "connect_args": arguments,
            "pool_pre_ping": True,
        }
        self._held: dict[int, int] = {}  # Number: this process's attempt.
        # Processes of other studies take it too, to make the tables once.
        self._key = zlib.crc32(b"efficientnet architect")
        with self._explained():
            self._engine = sqlalchemy.create_engine(self._url, **self._options)
            with self._locked():
                self._open(study)
        self._check(study, plan)
        self._key = zlib.crc32(study.encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """As of a storage; candidates of dead processes are free after it."""
        with self._explained(), self._locked():
            self._retry()
            yield

    def read_candidates(self) -> dict[int, dict[str, Any]]:
        return {
            number: {
                "genotype": optuna_searchers.to_genotype(tries[0].params),
                "notes": tries[0].user_attrs[_NOTES],
            }
            for number, tries in sorted(self._read().items())
        }

    def read_outcomes(self) -> dict[int, dict[str, Any]]:
        ended = [
            (trial.user_attrs[_ORDER], number, trial.user_attrs[_OUTCOME])
            for number, tries in self._read().items()
            for trial in tries
            if _OUTCOME in trial.user_attrs
        ]
        # Not by time: clocks of machines differ.
        return {
            number: {**outcome, "number": number}
            for _, number, outcome in sorted(ended, key=lambda row: row[:2])
        }

    def add(
        self, number: int, genotype: spaces.Genotype, notes: dict[str, Any]
    ) -> None:
        self._add(number, optuna_searchers.to_params(genotype), notes)

    def hold(self, number: int, held: contextlib.ExitStack) -> bool:
        last = self._read()[number][-1]
        if last.state != TrialState.WAITING:
            return False
        # First the heartbeat: without one a trial that runs never counts as
        # dead.
        self._storage.record_heartbeat(last._trial_id)
        if not self._storage.set_trial_state_values(
            last._trial_id, TrialState.RUNNING
        ):
            return False
        self._held[number] = last._trial_id
        held.callback(self._give_back, number)
        held.enter_context(self._beating(last._trial_id))
        return True

    @contextlib.contextmanager
    def attempt(self, number: int) -> Iterator[int]:
        with self._explained():
            tries = self._read()[number]
        yield 1 + sum(_was_killed(trial) for trial in tries)

    def end(self, number: int, outcome: dict[str, Any]) -> None:
        trial_id = self._held[number]
        order = len(self.read_outcomes())
        if self._storage.get_trial(trial_id).state != TrialState.RUNNING:
            logging.warning(
                "%s was without a heartbeat for %d s, so it is tried again; "
                "what came of it here is left out.",
                storages.name(number),
                GRACE_SECONDS,
            )
            return
        outcome = files.to_json_types(outcome)
        self._storage.set_trial_user_attr(trial_id, _ORDER, order)
        self._storage.set_trial_user_attr(trial_id, _OUTCOME, outcome)
        failed = "failed" in outcome
        self._storage.set_trial_state_values(
            trial_id,
            TrialState.FAIL if failed else TrialState.COMPLETE,
            None if failed else [outcome["score"]],
        )

    def _open(self, study):
        with warnings.catch_warnings():
            # Heartbeats are there since 2.0, and warn that they may change.
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )
            self._storage = optuna.storages.RDBStorage(
                self._url.render_as_string(hide_password=False),
                engine_kwargs=self._options,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
            )
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=study,
            direction="maximize",
            load_if_exists=True,
        )

    def _check(self, study, plan):
        """Writes the plan to a new study, or checks that it is the study's."""
        plan = dataclasses.replace(plan, trials=1)
        own = files.to_json_types(dataclasses.asdict(plan))
        with self._explained(), self._locked():
            stored = self._study.user_attrs.get(_PLAN)
            if stored is None:
                self._study.set_user_attr(_PLAN, own)
                return
        stored = files.to_json_types(configs.list_defaults(plan)) | stored
        different = run_folder.find_difference(stored, own)
        if different is not None:
            raise ValueError(
                f"the study {study!r} of {self._show()} is another search: "
                f"{different}. Choose another --study."
            )

    @contextlib.contextmanager
    def _locked(self):
        if self._url.drivername == SQLITE:
            with filelock.FileLock(f"{self._url.database}.{self._key}.lock"):
                yield
            return
        # The server frees it when the connection ends.
        with self._engine.begin() as connection:
            connection.execute(
                sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"),
                {"key": self._key},
            )
            yield

    def _retry(self):
        """Makes candidates free whose process died or was stopped."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )
            optuna.storages.fail_stale_trials(self._study)
        for number, tries in self._read().items():
            last = tries[-1]
            # Not Optuna's callback for it, which a kill may come before.
            if last.state.is_finished() and not _has_ended(tries):
                self._add(number, last.params, last.user_attrs[_NOTES])

    def _add(self, number, params, notes):
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=params,
                distributions=self._distributions,
                user_attrs=files.to_json_types(
                    {_NUMBER: number, _NOTES: notes}
                ),
            )
        )

    def _give_back(self, number):
        """Ends an attempt without an outcome, which is no kill."""
        trial_id = self._held.pop(number)
        with self._explained():
            trial = self._storage.get_trial(trial_id)
            if trial.state == TrialState.RUNNING:
                self._storage.set_trial_user_attr(trial_id, _GIVEN_BACK, True)
                self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    @contextlib.contextmanager
    def _beating(self, trial_id):
        """Records heartbeats until a `with` block ends."""
        ended = threading.Event()

        def beat():
            while not ended.wait(HEARTBEAT_SECONDS):
                try:
                    self._storage.record_heartbeat(trial_id)
                # A server that is started again has it at the next beat.
                except Exception as error:
                    words = self._hide(_explain(error))
                    logging.warning("No heartbeat: %s.", words)
            self._storage.remove_session()

        # Optuna's own thread ends at the first error.
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _read(self):
        """Returns {number: its attempts in order}."""
        found: dict[int, list[optuna.trial.FrozenTrial]] = {}
        with self._explained():
            for trial in self._study.get_trials(deepcopy=False):
                if _NUMBER in trial.user_attrs:
                    found.setdefault(trial.user_attrs[_NUMBER], []).append(
                        trial
                    )
        return found

    def _show(self):
        """Returns the database for people: no user, password or option."""
        if self._url.drivername == SQLITE:
            return f"sqlite:///{self._url.database}"
        port = f":{self._url.port}" if self._url.port else ""
        return f"postgresql://{self._url.host or ''}{port}/{self._url.database}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns errors of the database into an OSError of one line."""
        try:
            yield
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.StorageInternalError,
            filelock.Timeout,
        ) as error:
            text = self._hide(_explain(error))
            raise OSError(f"--storage={self._show()}: {text}.") from None

    def _hide(self, text):
        options = self._url.query.items()
        secrets = [self._url.password]
        secrets += [v for k, v in options if "password" in k]
        for secret in filter(None, secrets):
            text = text.replace(str(secret), "***")
        return text


def _has_ended(tries):
    return any(_OUTCOME in trial.user_attrs for trial in tries)


def _was_killed(trial):
    return trial.state == TrialState.FAIL and not (
        {_OUTCOME, _GIVEN_BACK} & trial.user_attrs.keys()
    )


def _explain(error):
    """Returns the driver's own words, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "orig", None) or error)
    line = next(iter(text.strip().splitlines()), type(error).__name__)
    return re.sub(r"\s+", " ", line).rstrip(".")
