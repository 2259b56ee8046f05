"""Trials: many networks, trained alike with several seeds, to compare them."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from absl import logging

from efficientnet_tf.models import costs, registry, variants
from efficientnet_tf.training import recipes, train_config
from efficientnet_tf.utils import configs, files, run_folder, words, workers

# A run that is killed so often before its next checkpoint counts as failed.
MAX_KILLS = 3
ATTEMPTS_FILE = "attempts.jsonl"

# Names of the accuracy in a run's rows, the first that is there counts: that of
# the averaged weights, else that of the last ones.
SCORES = ("ema_top1", "top1")

# Fields of a `Variant` that tell a study's networks apart in its results.
SCALE = ("width", "depth", "resolution", "dropout")


@dataclasses.dataclass(frozen=True)
class Budget:
    """The training that every network gets: data, recipe and seeds.

    `settings` are "field=value" overrides of the recipe. Its resolution is that
    of the base, from which each network's own follows. With `keep` below 1,
    only this share of the networks, the best so far, trains with the next seed.
    """

    dataset: str
    recipe: str = "smoke"
    settings: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "validation")
    seeds: Annotated[int, configs.AtLeast(1, configs.MAX_RUNS)] = 3
    keep: Annotated[float, configs.Above(0, 1)] = 1.0

    def __post_init__(self):
        configs.check(self)
        if len(self.splits) != 2:
            raise ValueError(
                f"splits={self.splits} must be two: one to train on, and one "
                "to score on."
            )
        if self.config.stage_resolutions:
            raise ValueError(
                f"stage_resolutions={self.config.stage_resolutions} would "
                "replace each network's own resolution."
            )

    @property
    def config(self) -> train_config.TrainConfig:
        """The recipe with its settings."""
        return recipes.get_recipe(self.recipe, self.settings)

    def text(self, what: str = "Each network") -> str:
        """Returns the budget of `what` in words, for reports."""
        config = self.config
        settings = " ".join(self.settings) or "no changes"
        text = (
            f"{what}: {words.count(config.epochs, 'epoch')} of "
            f"{self.dataset} ({self.splits[0]}), recipe {self.recipe} "
            f"({settings}), batch {config.batch_size}, "
            f"{words.count(self.seeds, 'seed')}; scored on {self.splits[1]}."
        )
        if self.keep < 1:
            text += (
                f" Only the best {self.keep:.0%} train with the next seed, so "
                "the others have fewer seeds."
            )
        return text

    def round_size(self, candidates: int, seed: int) -> int:
        """Returns how many of so many candidates train with a seed."""
        return math.ceil(candidates * self.keep**seed - 1e-9)


def base_variant(
    model: registry.Model,
    budget: Budget,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int = 0,
) -> variants.Variant:
    """Returns the `Variant` that a study starts from.

    Args:
      model: a name, a variant file or a `Variant`.
      budget: its recipe's resolution is used, if it has one.
      width: multiplies all filters.
      depth: multiplies all repeats.
      resolution: pixels a side; 0: the recipe's, or else the network's own.
    """
    variant = registry.get_variant(model)
    return dataclasses.replace(
        variant,
        width=variant.width * width,
        depth=variant.depth * depth,
        resolution=resolution or budget.config.resolution or variant.resolution,
    )


def check_splits(budget: Budget, data_dir: str | None = None) -> None:
    """Raises ValueError if a network would be scored on training images."""
    from efficientnet_tf.data.sets import sources

    train, test = (
        sources.load(budget.dataset, split, data_dir) for split in budget.splits
    )
    shared = train.count_shared(test)
    if shared:
        raise ValueError(
            f"{shared} of the {test.size} images of {budget.splits[1]} are "
            f"also in {budget.splits[0]}; choose splits that share none."
        )


def start_study(
    plan: Any,
    candidates: Mapping[str, variants.Variant],
    workdir: str | os.PathLike,
) -> None:
    """Creates a study's folder, or checks that it belongs to this plan.

    The budget's `seeds` and `keep` may change.

    Args:
      plan: a frozen dataclass with a `budget`.
      candidates: {name: `Variant`}.
      workdir: the study's folder.

    Raises:
      ValueError: it belongs to another plan.
    """
    # No run depends on these two, so the folder serves any of their values.
    budget = dataclasses.replace(
        plan.budget, seeds=Budget.seeds, keep=Budget.keep
    )
    run_folder.start_study(
        dataclasses.replace(plan, budget=budget), pathlib.Path(workdir)
    )
    for name, variant in candidates.items():
        path = variant_file(workdir, name)
        if not path.exists():
            registry.write_file(path, variant)


def run_trials(
    names: Sequence[str],
    budget: Budget,
    workdir: str | os.PathLike,
    *,
    data_dir: str | None = None,
    on_run: Callable[[], object] | None = None,
) -> None:
    """Trains the remaining runs of the named candidates, one by one.

    Several processes may work in one folder at the same time. All candidates
    train with one seed before any trains with the next, which only those train
    with that the budget keeps.

    Args:
      names: of candidates that `start_study` was given.
      budget: of each network.
      workdir: the study's folder.
      data_dir: where TFDS keeps its data sets.
      on_run: called after each run of this process.
    """
    workdir = pathlib.Path(workdir)

    def train(name, seed):
        _train(name, seed, budget, workdir, data_dir)

    if budget.keep == 1:  # No round depends on the one before.
        _run_round(names, range(budget.seeds), train, workdir, on_run)
        return
    for seed, kept in enumerate(_rounds(names, budget, workdir)):
        _run_round(kept, [seed], train, workdir, on_run)


def count_runs(
    names: Sequence[str], budget: Budget, workdir: str | os.PathLike
) -> tuple[int, int]:
    """Returns how many runs have ended, and how many there are in all."""
    workdir = pathlib.Path(workdir)
    ended = 0
    for seed, kept in enumerate(_rounds(names, budget, workdir)):
        folders = [_folder(workdir, name, seed) for name in kept]
        done = sum(map(workers.has_ended, folders))
        ended += done
        if done < len(kept) and budget.keep < 1:
            break  # The next round's candidates are not known yet.
    total = sum(
        budget.round_size(len(names), seed) for seed in range(budget.seeds)
    )
    return ended, total


def read_scores(
    name: str, budget: Budget, workdir: str | os.PathLike
) -> list[float | None]:
    """Returns the accuracy of each seed; None if it is missing or failed."""
    rows = [
        run_folder.last_result(_folder(pathlib.Path(workdir), name, seed))
        for seed in range(budget.seeds)
    ]
    return [_score(row or {}) for row in rows]


def read_failure(name: str, budget: Budget, workdir: str | os.PathLike) -> str:
    """Returns why the first run of a candidate that failed did so."""
    for seed in range(budget.seeds):
        row = run_folder.last_result(_folder(pathlib.Path(workdir), name, seed))
        if row is not None and "failed" in row:
            return str(row["failed"])
    return "a run ended without a score"


def read_curve(
    name: str, budget: Budget, workdir: str | os.PathLike
) -> list[float]:
    """Returns the mean accuracy over seeds after each epoch."""
    curves = []
    for seed in range(budget.seeds):
        folder = _folder(pathlib.Path(workdir), name, seed)
        rows = run_folder.read_metrics(folder / run_folder.METRICS_FILE)
        scores = [_score(row, "val_") for row in rows]
        if rows and None not in scores:
            curves.append(scores)
    length = min(map(len, curves), default=0)
    if not length:
        return []
    return np.mean([curve[:length] for curve in curves], axis=0).tolist()


def variant_file(workdir: str | os.PathLike, name: str) -> pathlib.Path:
    """Returns the path of a candidate's variant file."""
    return pathlib.Path(workdir) / "networks" / f"{name}.json"


def summarize(
    name: str,
    variant: variants.Variant,
    budget: Budget,
    workdir: str | os.PathLike,
) -> dict:
    """Returns a row with the variant's scale, cost and accuracy.

    "accuracy" is the mean over seeds, None unless all have a score; "spread" is
    their standard deviation, None for a single seed. "mean" is that of the
    scores so far, None if there are none.
    """
    scores = read_scores(name, budget, workdir)
    known = [score for score in scores if score is not None]
    whole = len(known) == budget.seeds
    spread = float(np.std(known, ddof=1)) if whole and len(known) > 1 else None
    cost = costs.count_costs(variant)
    return {
        "name": name,
        **{field: getattr(variant, field) for field in SCALE},
        "params": cost.params,
        "multiply_adds": cost.multiply_adds,
        "accuracy": float(np.mean(known)) if whole else None,
        "mean": float(np.mean(known)) if known else None,
        "spread": spread,
        "scores": scores,
    }


def write_results(rows: Iterable[dict], workdir: str | os.PathLike) -> None:
    """Writes a study's rows as JSON lines."""
    with workers.lock(workdir, "results"):
        path = pathlib.Path(workdir) / run_folder.RESULTS_FILE
        files.write_json_lines(path, rows)


def _rounds(names, budget, workdir) -> Iterator[list[str]]:
    """Yields the names that train with each seed, in order.

    Each round reads the scores so far, so all runs of the round before must
    have ended.
    """
    kept = list(names)
    for seed in range(budget.seeds):
        size = budget.round_size(len(names), seed)
        if size < len(kept):
            best = sorted(
                kept,
                key=lambda name: _mean(name, seed, budget, workdir),
                reverse=True,
            )
            kept = [name for name in kept if name in best[:size]]
        yield kept


def _mean(name, seeds, budget, workdir):
    """Returns the mean score of the first seeds; -1 if one failed."""
    scores = read_scores(name, budget, workdir)[:seeds]
    return -1.0 if None in scores else float(np.mean(scores))


def _run_round(names, seeds, train, workdir, on_run):
    """Calls `train(name, seed)` for every run that is left."""
    runs = {
        f"{name}-seed{seed}": (name, seed) for seed in seeds for name in names
    }
    folders = {run: _folder(workdir, *key) for run, key in runs.items()}
    workers.work(workdir, folders, lambda run: train(*runs[run]), on_run)


def _train(name, seed, budget, workdir, data_dir):
    folder = _folder(workdir, name, seed)
    logging.info("%s", folder)
    attempts = folder / ATTEMPTS_FILE
    # A run that the system kills, e.g. out of memory, leaves no error.
    if _note_attempt(attempts, folder / run_folder.CHECKPOINTS) > MAX_KILLS:
        workers.fail(
            folder,
            f"killed {MAX_KILLS} times before its next checkpoint, maybe out "
            "of memory",
            seed,
        )
        return
    try:
        _train_once(folder, variant_file(workdir, name), seed, budget, data_dir)
    finally:  # Reached unless the process was killed.
        files.remove(attempts)
    # A study needs only the scores, and networks are large.
    for part in (run_folder.CHECKPOINTS, run_folder.MODEL_FILE):
        files.remove(folder / part)


def _note_attempt(path, folder):
    """Records an attempt; returns how many began at the newest checkpoint."""
    from efficientnet_tf.training import checkpoints

    newest = checkpoints.list_newest(folder)
    begin = newest[0].name if newest else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.append_json_line(path, {"checkpoint": begin})
    rows = files.read_json_lines(path, {"checkpoint": str})
    return sum(row["checkpoint"] == begin for row in rows)


def _train_once(folder, model, seed, budget, data_dir):
    # Slow; who only plans or reads trials does without.
    import keras

    from efficientnet_tf.training import train

    keras.backend.clear_session()
    # The recipe's resolution would replace the network's own.
    config = dataclasses.replace(budget.config, resolution=0, seed=seed)
    try:
        train.train_and_evaluate(
            str(model),
            budget.dataset,
            config=config,
            workdir=folder,
            data_dir=data_dir,
            splits=budget.splits,
            recipe=budget.recipe,
        )
    except Exception as error:
        if not workers.is_runs_own(error):
            raise
        workers.fail(folder, error, seed)


def _score(row, prefix=""):
    for name in SCORES:
        score = row.get(prefix + name)
        if files.is_a(score, float):
            return score
    return None


def _folder(workdir, name, seed):
    return workdir / "runs" / name / f"seed={seed}"
