"""A training that must be over in time, and whether it was cut short."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

import keras

from efficientnet_tf.training import pacing
from efficientnet_tf.utils import files

# In a run's folder where a time limit ended the schedule early: `Shortened`.
SHORTENED_FILE = "shortened.json"


@dataclasses.dataclass(frozen=True)
class Shortened:
    """Steps of a schedule, and those that there was time for."""

    planned: int
    done: int

    def __str__(self) -> str:
        return (
            f"the time was over after {self.done:,} of {self.planned:,} steps"
        )


@dataclasses.dataclass(frozen=True)
class Pacing:
    """When the steps must be over, by `time.perf_counter()`.

    `round` has the seconds that each epoch takes besides its steps.
    """

    end: float
    round: float


def note_shortened(
    stoppers: Iterable[keras.callbacks.Callback], workdir: str | os.PathLike
) -> None:
    """Writes `SHORTENED_FILE` if a `pacing.Pacer` left steps out."""
    for pacer in stoppers:
        if isinstance(pacer, pacing.Pacer) and pacer.is_shortened:
            steps = Shortened(pacer.length.steps, pacer.step)
            files.write_json(
                pathlib.Path(workdir) / SHORTENED_FILE,
                dataclasses.asdict(steps),
            )
