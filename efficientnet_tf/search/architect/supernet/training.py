"""The training of a supernet in its folder, which searches share."""

import dataclasses
import functools
import itertools
import os
import pathlib
from typing import Any

import keras

from efficientnet_tf.models import registry
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import spaces
from efficientnet_tf.search.architect.supernet import sandwich, slices
from efficientnet_tf.training import train
from efficientnet_tf.utils import files, run_folder, untrusted, workers

# In a supernet's folder: its largest network, and the run that trains it.
NETWORK_FILE = "largest.json"
RUN = "training"


@dataclasses.dataclass(frozen=True)
class Supernet:
    """A space whose networks share weights, and how these are trained.

    Raises:
      ValueError: not all of them can, or the budget has what a supernet lacks.
    """

    space: spaces.Space
    budget: trials.Budget

    def __post_init__(self):
        slices.check(self.space)
        if self.budget.seeds > 1:
            raise ValueError(
                f"seeds={self.budget.seeds}: a supernet is trained once; "
                "choose 1."
            )
        if self.budget.config.teacher:
            raise ValueError(
                f"teacher={self.budget.config.teacher!r}: a supernet's teacher "
                "is its largest network; leave it empty."
            )


def check_folder(supernet: Supernet, folder: str | os.PathLike) -> None:
    """Raises ValueError if a folder holds the supernet of another space."""
    path = pathlib.Path(folder) / run_folder.PLAN_FILE
    if not path.exists():
        return
    there = run_folder.read_config(path).get("space")
    here = files.to_json_types(dataclasses.asdict(supernet.space))
    if there != here:
        raise ValueError(
            f"{folder} holds a supernet of another space: "
            f"{_find_difference(there, here)}. Choose another folder."
        )
    run_folder.check_run(path, dataclasses.asdict(supernet))


def run(
    supernet: Supernet,
    folder: str | os.PathLike,
    data_dir: str | None = None,
) -> dict:
    """Trains a supernet, or what is left of it; returns its run's results.

    Other processes that come meanwhile wait for it.

    Raises:
      OSError, ValueError: the folder is of another supernet, or cannot be used.
      callbacks.Preempted: a signal arrived; the state is saved.
    """
    folder = pathlib.Path(folder)
    check_folder(supernet, folder)
    run_folder.start_study(supernet, folder)
    budget = supernet.budget
    train_split, eval_split = budget.splits
    with workers.lock(folder, RUN):
        path = folder / NETWORK_FILE
        if not path.exists():
            space = supernet.space
            largest = space.decode(slices.find_largest(space))
            registry.write_file(path, largest)
        keras.backend.clear_session()
        return train.train_and_evaluate(
            os.fspath(path),
            budget.dataset,
            # The recipe's resolution is in the space.
            config=dataclasses.replace(budget.config, resolution=0),
            workdir=folder / RUN,
            data_dir=data_dir,
            splits=(train_split, eval_split),
            recipe=budget.recipe,
            make_trainer=functools.partial(
                sandwich.Trainer,
                space=supernet.space,
                seed=budget.config.seed,
            ),
        )


def _find_difference(there: Any, here: dict) -> str:
    """Returns the first difference of two spaces' JSON."""
    if not isinstance(there, dict):
        return "none is named there"
    pairs: list[tuple[str, Any, Any]] = []
    for name in ("decisions", "template"):
        own, other = here[name], there.get(name)
        if isinstance(own, dict) and isinstance(other, dict):
            pairs += [(field, other.get(field), own[field]) for field in own]
        elif isinstance(own, list) and isinstance(other, list):
            both = itertools.zip_longest(other, own)
            pairs += [("a decision", *pair) for pair in both]
        else:
            pairs.append((name, other, own))
    for name, other, own in pairs:
        if other != own:
            shown = (untrusted.shorten(repr(v)) for v in (other, own))
            return "{} is {} there, {} here".format(name, *shown)
    return "other fields are there"
