"""Where the candidates of a search and what came of them are kept.

In files of the search's folder, for the processes of one machine; see
`databases` for several machines.
"""

import abc
import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import filelock

from efficientnet_tf.search.architect import spaces
from efficientnet_tf.utils import files, workers

CANDIDATES_FILE = "candidates.jsonl"
OUTCOMES_FILE = "outcomes.jsonl"
ATTEMPTS_FILE = "attempts.jsonl"


class Storage(abc.ABC):
    """What the processes of a search share."""

    @abc.abstractmethod
    def lock(self) -> contextlib.AbstractContextManager:
        """Returns what only one process enters at a time."""

    @abc.abstractmethod
    def read_candidates(self) -> dict[int, dict[str, Any]]:
        """Returns {number: {"genotype", "notes"}} of all that was asked for."""

    @abc.abstractmethod
    def read_outcomes(self) -> dict[int, dict[str, Any]]:
        """Returns {number: outcome} of those that ended, in this order."""

    @abc.abstractmethod
    def add(
        self, number: int, genotype: spaces.Genotype, notes: dict[str, Any]
    ) -> None:
        """Adds a candidate; the caller is in `lock`."""

    @abc.abstractmethod
    def hold(self, number: int, held: contextlib.ExitStack) -> bool:
        """Takes a candidate for this process until `held` is closed.

        The caller is in `lock`.

        Returns:
          Whether it could be taken: no other process that lives has it.
        """

    @abc.abstractmethod
    def attempt(self, number: int) -> contextlib.AbstractContextManager[int]:
        """Yields the number of attempts that a kill ended, with this one."""

    @abc.abstractmethod
    def end(self, number: int, outcome: dict[str, Any]) -> None:
        """Adds what came of a candidate; the caller is in `lock`."""


class Files(Storage):
    """Files with what was asked for, and with what came of it.

    Whoever holds a candidate's lock is at it.

    Args:
      workdir: the search's folder.
    """

    def __init__(self, workdir: str | os.PathLike):
        self._workdir = pathlib.Path(workdir)

    def lock(self) -> contextlib.AbstractContextManager:
        return workers.lock(self._workdir, "search")

    def read_candidates(self) -> dict[int, dict[str, Any]]:
        return _read(self._workdir / CANDIDATES_FILE)

    def read_outcomes(self) -> dict[int, dict[str, Any]]:
        return _read(self._workdir / OUTCOMES_FILE)

    def add(
        self, number: int, genotype: spaces.Genotype, notes: dict[str, Any]
    ) -> None:
        row = {"number": number, "genotype": genotype, "notes": notes}
        files.append_json_line(self._workdir / CANDIDATES_FILE, row)

    def hold(self, number: int, held: contextlib.ExitStack) -> bool:
        with contextlib.suppress(filelock.Timeout):
            held.enter_context(workers.lock(self._workdir, name(number), 0))
            return True
        return False

    @contextlib.contextmanager
    def attempt(self, number: int) -> Iterator[int]:
        # A kill leaves no trace but the attempt's beginning.
        path = self._workdir / ATTEMPTS_FILE
        with workers.lock(self._workdir, "attempts"):
            files.append_json_line(path, {"number": number, "count": 1})
            rows = files.read_json_lines(path, {"number": int, "count": int})
        try:
            yield sum(r["count"] for r in rows if r["number"] == number)
        finally:
            with workers.lock(self._workdir, "attempts"):
                files.append_json_line(path, {"number": number, "count": -1})

    def end(self, number: int, outcome: dict[str, Any]) -> None:
        row = {**outcome, "number": number}
        files.append_json_line(self._workdir / OUTCOMES_FILE, row)


def name(number: int) -> str:
    """Returns a candidate's name: "candidate00012"."""
    return f"candidate{number:05d}"


def _read(path):
    """Returns {number: row}, in the file's order."""
    if not path.exists():
        return {}
    rows = files.read_json_lines(path, {"number": int})
    return {row["number"]: row for row in rows}
