"""Many networks, each trained alike with several seeds, to compare them."""

import dataclasses
import math
import pathlib
from typing import Annotated

import keras
import numpy as np
from absl import logging

from efficientnet_tf.data import sources
from efficientnet_tf.models import costs, registry
from efficientnet_tf.training import checkpoints, recipes, train
from efficientnet_tf.utils import configs, files, run_folder, workers

# A run that was killed so often on its way to a checkpoint counts as failed.
MAX_KILLS = 3
ATTEMPTS_FILE = "attempts.jsonl"

# How the accuracy that counts is called in a run's rows: of the averaged
# weights where there are such, else of the last ones.
SCORES = ("ema_top1", "top1")

# What differs between the networks of a study, in a row of its results.
SCALE = ("width", "depth", "resolution", "dropout")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every network gets: data, recipe, seeds; the same for all.

    `settings` are "field=value" of the recipe. Its resolution is that of the
    base, from which each network has its own. With `keep` below 1 only so large
    a share of the networks, the best so far, trains with the next seed.
    """

    dataset: str
    recipe: str = "smoke"
    settings: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "validation")
    seeds: Annotated[int, configs.AtLeast(1)] = 3
    keep: Annotated[float, configs.Above(0, 1)] = 1.0

    def __post_init__(self):
        configs.check(self)
        if len(self.splits) != 2:
            raise ValueError(
                f"splits={self.splits} must be one to train and one to score on"
                "."
            )
        if self.config.stage_resolutions:
            raise ValueError(
                f"stage_resolutions={self.config.stage_resolutions} would take "
                "the place of each network's own resolution."
            )

    @property
    def config(self):
        return recipes.get_recipe(self.recipe, self.settings)

    def text(self):
        """Returns the budget in words, for reports."""
        config = self.config
        settings = " ".join(self.settings) or "no changes"
        text = (
            f"Each network: {config.epochs} epochs of `{self.dataset}` "
            f"({self.splits[0]}), recipe `{self.recipe}` ({settings}), batch "
            f"{config.batch_size}, {self.seeds} seed{'s' * (self.seeds > 1)}; "
            f"scored on {self.splits[1]}."
        )
        if self.keep < 1:
            text += (
                f" The best {self.keep:.0%} go on to the next seed, so the "
                "others have fewer."
            )
        return text

    def round_size(self, candidates, seed):
        """Returns how many of the candidates train with a seed."""
        return math.ceil(candidates * self.keep**seed - 1e-9)


def base_network(name, budget, *, width=1.0, depth=1.0, resolution=0):
    """Returns the `Variant` that a study starts from.

    Args:
      name: of a network, or a variant file.
      budget: whose recipe may have a resolution.
      width: multiplies all filters.
      depth: multiplies all repeats.
      resolution: pixels a side; 0: the recipe's, or the network's own.
    """
    network = registry.get_variant(name)
    return dataclasses.replace(
        network,
        width=network.width * width,
        depth=network.depth * depth,
        resolution=resolution or budget.config.resolution or network.resolution,
    )


def check_splits(budget, data_dir=None):
    """Raises ValueError if networks are scored on what they train on."""
    train, test = (
        sources.load(budget.dataset, split, data_dir) for split in budget.splits
    )
    shared = train.count_shared(test)
    if shared:
        raise ValueError(
            f"{shared} of the {test.size} images of {budget.splits[1]} are in "
            f"{budget.splits[0]} as well; score on others."
        )


def start(plan, candidates, workdir):
    """Makes a study's folder, or checks that it is this plan's.

    How many seeds there are, and who gets them, may change.

    Args:
      plan: a frozen dataclass.
      candidates: {name: `Variant`}.
      workdir: the folder.

    Raises:
      ValueError: it is another plan's.
    """
    # Runs depend on neither, so the same folder serves others.
    budget = dataclasses.replace(
        plan.budget, seeds=Budget.seeds, keep=Budget.keep
    )
    run_folder.start_study(dataclasses.replace(plan, budget=budget), workdir)
    for name, network in candidates.items():
        path = network_file(workdir, name)
        if not path.exists():
            registry.write_file(path, network)


def work(names, budget, workdir, *, data_dir=None, on_run=None):
    """Trains what is left of the named candidates, one run after the other.

    Several processes may do so in one folder at a time. All candidates train
    with one seed before any trains with the next, and with the next only those
    that the budget keeps.

    Args:
      names: of candidates of `start`.
      budget: a `Budget`.
      workdir: the study's folder.
      data_dir: where TFDS keeps its sets.
      on_run: called after each run of this process.
    """
    workdir = pathlib.Path(workdir)
    if budget.keep == 1:  # Nobody waits for the others.
        _work_round(
            names, range(budget.seeds), budget, workdir, data_dir, on_run
        )
        return
    for seed, kept in enumerate(_rounds(names, budget, workdir)):
        _work_round(kept, [seed], budget, workdir, data_dir, on_run)


def count(names, budget, workdir):
    """Returns how many runs have ended, and how many there are."""
    workdir = pathlib.Path(workdir)
    ended = 0
    for seed, kept in enumerate(_rounds(names, budget, workdir)):
        folders = [_folder(workdir, name, seed) for name in kept]
        done = sum(map(workers.has_ended, folders))
        ended += done
        if done < len(kept) and budget.keep < 1:
            break  # Who goes on is not known yet.
    total = sum(
        budget.round_size(len(names), seed) for seed in range(budget.seeds)
    )
    return ended, total


def read_scores(name, budget, workdir):
    """Returns the accuracy of each seed; None: not there, or failed."""
    rows = [
        run_folder.last_result(_folder(pathlib.Path(workdir), name, seed))
        for seed in range(budget.seeds)
    ]
    return [_score(row or {}) for row in rows]


def read_curve(name, budget, workdir):
    """Returns the mean accuracy over the seeds after each epoch, a list."""
    curves = []
    for seed in range(budget.seeds):
        folder = _folder(pathlib.Path(workdir), name, seed)
        path = folder / run_folder.METRICS_FILE
        if path.exists():
            rows = files.read_json_lines(path)
            curves.append([_score(row, "val_") for row in rows])
    length = min(map(len, curves), default=0)
    if not length:
        return []
    return np.mean([curve[:length] for curve in curves], axis=0).tolist()


def network_file(workdir, name):
    """Returns the path of a candidate's variant file."""
    return pathlib.Path(workdir) / "networks" / f"{name}.json"


def summarize(name, network, budget, workdir):
    """Returns a row: the network's scale, its cost, its accuracy.

    "accuracy" is None unless all seeds have one; "spread" is the standard
    deviation over them, None for a single seed. "mean" is of the seeds that
    have one, None if none has.
    """
    scores = read_scores(name, budget, workdir)
    known = [score for score in scores if score is not None]
    whole = len(known) == budget.seeds
    spread = float(np.std(known, ddof=1)) if whole and len(known) > 1 else None
    cost = costs.count_costs(network)
    return {
        "name": name,
        **{field: getattr(network, field) for field in SCALE},
        "params": cost.params,
        "multiply_adds": cost.multiply_adds,
        "accuracy": float(np.mean(known)) if whole else None,
        "mean": float(np.mean(known)) if known else None,
        "spread": spread,
        "scores": scores,
    }


def write_results(rows, workdir):
    """Writes a study's rows as JSON lines."""
    with workers.lock(workdir, "results"):
        path = pathlib.Path(workdir) / run_folder.RESULTS_FILE
        files.write_json_lines(path, rows)


def _rounds(names, budget, workdir):
    """Yields the names that train with each seed, in their order.

    Each time by the scores that are there, so that all with the seed before
    must have ended.
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


def _work_round(names, seeds, budget, workdir, data_dir, on_run):
    runs = {
        f"{name}-seed{seed}": (name, seed) for seed in seeds for name in names
    }

    def do(run):
        _train(*runs[run], budget, workdir, data_dir)

    folders = {run: _folder(workdir, *key) for run, key in runs.items()}
    workers.work(workdir, folders, do, on_run)


def _train(name, seed, budget, workdir, data_dir):
    folder = _folder(workdir, name, seed)
    logging.info("%s", folder)
    attempts = folder / ATTEMPTS_FILE
    # An operating system without memory kills, and leaves no error.
    if _note_attempt(attempts, folder / run_folder.CHECKPOINTS) > MAX_KILLS:
        workers.fail(
            folder,
            f"killed {MAX_KILLS} times before its next checkpoint, for want of "
            "memory perhaps",
            seed,
        )
        return
    try:
        _train_once(folder, network_file(workdir, name), seed, budget, data_dir)
    finally:  # It was not killed.
        files.remove(attempts)
    # Nobody needs them.
    for part in (run_folder.CHECKPOINTS, run_folder.MODEL_FILE):
        files.remove(folder / part)


def _note_attempt(path, folder):
    """Returns how many attempts began at the newest checkpoint, with this."""
    newest = checkpoints.list_newest(folder)
    begin = newest[0].name if newest else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.append_json_line(path, {"checkpoint": begin})
    rows = files.read_json_lines(path)
    return sum(row["checkpoint"] == begin for row in rows)


def _train_once(folder, network, seed, budget, data_dir):
    keras.backend.clear_session()
    # Each network has its own resolution, so the recipe's must not count.
    config = dataclasses.replace(budget.config, resolution=0, seed=seed)
    try:
        train.train_and_evaluate(
            str(network),
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
        if prefix + name in row:
            return row[prefix + name]
    return None


def _folder(workdir, name, seed):
    return workdir / "runs" / name / f"seed={seed}"
