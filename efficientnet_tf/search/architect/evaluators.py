"""Evaluators: what a candidate is worth."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from efficientnet_tf.data import datasets, preprocessing
from efficientnet_tf.data.sets import sources
from efficientnet_tf.models import builder, registry, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import plans, proxies, spaces, tabular
from efficientnet_tf.search.architect.supernet import scoring, training

SUPERNET = "supernet"


@dataclasses.dataclass(frozen=True)
class Job:
    """One candidate of a search; `variant` is None in a benchmark."""

    plan: plans.Plan
    name: str
    genotype: spaces.Genotype
    variant: variants.Variant | None
    workdir: str | os.PathLike
    data_dir: str | None = None


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A way to score candidates.

    `evaluate` returns {"score"}, higher is better and above 0, and whatever
    else it found; an error says why a candidate has none. With `is_accuracy`
    the score is one, in [0, 1]. Without `needs_space` the candidates are those
    of a benchmark, and it finds the costs as well.
    """

    evaluate: Callable[[Job], dict]
    score: str
    is_accuracy: bool = True
    needs_space: bool = True


def _train(job):
    """Trains a candidate by the plan's budget; the mean over its seeds."""
    budget = job.plan.budget
    path = trials.variant_file(job.workdir, job.name)
    if not path.exists():
        registry.write_file(path, job.variant)
    trials.run_trials([job.name], budget, job.workdir, data_dir=job.data_dir)
    scores = trials.read_scores(job.name, budget, job.workdir)
    if None in scores:
        raise FloatingPointError(
            trials.read_failure(job.name, budget, job.workdir)
        )
    return {"score": float(np.mean(scores)), "scores": scores}


def _naswot(job):
    keras.backend.clear_session()
    keras.utils.set_random_seed(job.plan.seed)
    budget = job.plan.budget
    images = read_images(
        (budget.dataset, budget.splits[0], job.data_dir),
        job.variant.resolution,
        job.variant.interpolation,
    )
    network = builder.build(job.variant)
    return {"score": proxies.naswot(network, images)}


def _share(job):
    """Scores a candidate with its slice of the supernet's weights."""
    keras.backend.clear_session()
    folder = find_supernet(job.plan, job.workdir)
    trained = scoring.load(job.plan.budget, folder, job.data_dir)
    return {"score": scoring.score(trained, job.variant)}


def find_supernet(plan: plans.Plan, workdir: str | os.PathLike) -> str:
    """Returns the folder of a search's supernet."""
    return plan.supernet or os.fspath(pathlib.Path(workdir) / SUPERNET)


def make_supernet(plan: plans.Plan) -> training.Supernet:
    """Returns the supernet that a search scores by.

    Raises:
      ValueError: not all networks of its space share weights.
    """
    if plan.space is None or plan.budget is None:
        raise ValueError("a supernet needs a space, and images to train on.")
    return training.Supernet(plan.space, plan.budget)


def _look_up(job):
    table = _read_table(job.plan.benchmark)
    row = table.index[job.genotype]
    seed = job.plan.seed % tabular.SEEDS
    return {
        "score": float(table.accuracies[row, seed]),
        "mean_score": float(table.accuracies[row].mean()),
        "multiply_adds": int(table.multiply_adds[row]),
        "params": int(table.params[row]),
        "depth": sum(place > 0 for place in job.genotype),
    }


_read_table = functools.lru_cache(maxsize=1)(tabular.read)


@functools.lru_cache(maxsize=1)
def read_images(
    source: tuple[str, str, str | None], size: int, interpolation: str
) -> np.ndarray:
    """Returns a batch of a data set's first images, [N, size, size, 3].

    Args:
      source: data set, split, and TFDS's folder.
      size: pixels a side.
      interpolation: of resizing.
    """
    examples = sources.load(*source)
    prepare = functools.partial(
        preprocessing.preprocess_for_eval,
        size=size,
        interpolation=interpolation,
    )
    batches = datasets.make_eval_dataset(
        examples, lambda image: prepare(image), batch_size=proxies.IMAGES
    )
    return next(batches.as_numpy_iterator())[0]


# Another measure is a row more.
EVALUATORS = {
    "train": Evaluator(_train, "accuracy"),
    SUPERNET: Evaluator(_share, "accuracy"),
    "naswot": Evaluator(_naswot, "NASWOT", is_accuracy=False),
    "tabular": Evaluator(_look_up, "accuracy", needs_space=False),
}
