"""How a supernet ranks networks beside their stand-alone training.

python benchmarks/supernet.py --data_dir=DIR --workdir=/tmp/supernet \
    --dataset=cifar100 --eval_split=test --limit=2.5e6

Trains a supernet, scores random children by it, trains each of them alone, and
compares the rankings with that by multiply-adds. With --limit it also searches
on the supernet within so many multiply-adds, and trains the network found and
B0, scaled to that limit, alike. Killed at any moment, the same command resumes.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import app, flags
from scipy import stats

from efficientnet_tf.models import variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import (
    evaluators,
    flow,
    measurements,
    objectives,
    plans,
    runs,
    spaces,
    storages,
)
from efficientnet_tf.search.architect.supernet import scoring, slices, training
from efficientnet_tf.utils import files

SPACE = flags.DEFINE_string("space", "elastic", "A name or a file.")
WIDTH = flags.DEFINE_float("width", 0.25, "Multiplies all filters.")
DEPTH = flags.DEFINE_float("depth", 0.5, "Multiplies all repeats.")
RESOLUTION = flags.DEFINE_integer("resolution", 48, "Pixels a side.", 32)
CHILDREN = flags.DEFINE_integer("children", 20, "Networks to rank.", 3)
DATASET = flags.DEFINE_string("dataset", "cifar100", "Images.")
TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "To train on.")
EVAL_SPLIT = flags.DEFINE_string("eval_split", "test", "To score on.")
RECIPE = flags.DEFINE_string("recipe", "smoke", "Of all networks.")
SETTINGS = flags.DEFINE_multi_string("set", [], "FIELD=VALUE of the recipe.")
SUPERNET_EPOCHS = flags.DEFINE_integer("supernet_epochs", 30, "Of it.", 1)
EPOCHS = flags.DEFINE_integer("epochs", 20, "Of a network alone.", 1)
SEEDS = flags.DEFINE_integer("seeds", 3, "Of the two winners.", 1)
LIMIT = flags.DEFINE_float("limit", 0.0, "Multiply-adds; 0: no search.", 0)
TRIALS = flags.DEFINE_integer("trials", 100, "Of the search.", 1)
DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS's.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of all runs.")
flags.mark_flag_as_required("workdir")

SHARED = "shared.jsonl"  # Scores by the supernet.
RESAMPLES = 10_000


def main(_):
    workdir = pathlib.Path(WORKDIR.value)
    space = _make_space()
    supernet = training.Supernet(space, make_budget(SUPERNET_EPOCHS.value))
    row = training.run(supernet, workdir / "supernet", DATA_DIR.value)
    print(json.dumps({"supernet_top1": row["top1"], "seconds": row["seconds"]}))
    children = choose(space, CHILDREN.value)
    rows = compare(supernet, children, workdir)
    for row in rows:
        print(json.dumps(row))
    print(json.dumps(summarize(rows)))
    if LIMIT.value:
        for row in search(supernet, workdir):
            print(json.dumps(row))


def make_budget(epochs, seeds=1):
    """Returns the budget of so many epochs."""
    return trials.Budget(
        DATASET.value,
        RECIPE.value,
        (*SETTINGS.value, f"epochs={epochs}"),
        (TRAIN_SPLIT.value, EVAL_SPLIT.value),
        seeds=seeds,
    )


def choose(space, number):
    """Returns {name: network}: the largest, the smallest and random ones."""
    rng = np.random.default_rng(0)
    chosen = [slices.find_largest(space), slices.find_smallest(space)]
    while len(chosen) < number:
        genotype = spaces.sample(space.sizes, rng)
        if genotype not in chosen:
            chosen.append(genotype)
    return {f"child{i:02d}": space.decode(g) for i, g in enumerate(chosen)}


def compare(supernet, children, workdir):
    """Returns a row for each child: both scores, and its costs."""
    shared = _score_shared(supernet, children, workdir)
    budget = make_budget(EPOCHS.value)
    alone = _train_alone(children, budget, workdir / "alone")
    return [
        {
            "name": name,
            **plans.count(variant),
            "shared": round(shared[name], 4),
            "alone": alone[name][0],
        }
        for name, variant in children.items()
    ]


def summarize(rows):
    """Returns Kendall's τ with the stand-alone training, with intervals."""
    failed = sum(row["alone"] is None for row in rows)
    rows = [row for row in rows if row["alone"] is not None]
    alone = [row["alone"] for row in rows]
    found = {"children": len(rows), "failed": failed}
    for name in ("shared", "multiply_adds", "params", "depth"):
        values = [row[name] for row in rows]
        found[name] = describe_tau(values, alone)
    # That of the network which each of them would choose.
    for name in ("shared", "multiply_adds"):
        best = max(rows, key=lambda row: row[name])
        found[f"regret_{name}"] = round(max(alone) - best["alone"], 4)
    return found


def describe_tau(values, others, seed=0):
    """Returns Kendall's τ-b, and its 95 % interval by resampling networks."""
    values, others = np.array(values), np.array(others)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    taus = [kendall(values[d], others[d]) for d in drawn]
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    return {
        "tau": round(kendall(values, others), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
    }


def kendall(values, others):
    """Returns Kendall's τ-b; NaN if all are tied."""
    if np.ptp(values) == 0 or np.ptp(others) == 0:
        return float("nan")
    return float(stats.kendalltau(values, others).statistic)


def search(supernet, workdir):
    """Yields the rows of the network found within a limit, and of B0 there."""
    plan = plans.Plan(
        supernet.space,
        supernet.space.sizes,
        objectives.Objective(LIMIT.value, "mnas_hard"),
        "evolution",
        evaluators.SUPERNET,
        supernet.budget,
        supernet=str(workdir / "supernet"),
        trials=TRIALS.value,
    )
    cost = measurements.find("multiply_adds")
    flow.check(plan, cost, DATA_DIR.value)
    plans.start(plan, workdir / "search")
    storage = storages.Files(workdir / "search")
    flow.run(
        plan,
        workdir / "search",
        measurements.of_job("multiply_adds"),
        storage,
        data_dir=DATA_DIR.value,
    )
    rows = runs.read_rows(plan, storage)
    within = [row for row in rows if row.get("cost", np.inf) <= LIMIT.value]
    if not within:
        raise ValueError(
            f"None of {len(rows)} networks is within --limit={LIMIT.value:g}."
        )
    found = max(within, key=lambda row: row["score"])
    networks = {
        "found": supernet.space.decode(found["genotype"]),
        "b0": scale_b0(LIMIT.value),
    }
    budget = make_budget(EPOCHS.value, SEEDS.value)
    alone = _train_alone(networks, budget, workdir / "winners")
    for name, variant in networks.items():
        yield {"name": name, **plans.count(variant), "top1": alone[name]}


def scale_b0(limit):
    """Returns B0 with the width that comes next below a limit."""
    base = trials.base_variant(
        "efficientnet_b0",
        make_budget(EPOCHS.value),
        depth=DEPTH.value,
        resolution=RESOLUTION.value,
    )
    # Filters are rounded, so finer steps make no other networks.
    for percent in range(300, 5, -1):
        scaled = dataclasses.replace(base, width=percent / 100)
        if plans.count(scaled)["multiply_adds"] <= limit:
            return scaled
    raise ValueError(f"No width of B0 has {limit:,.0f} multiply-adds or less.")


def _make_space():
    base = trials.base_variant(
        spaces.get_space(SPACE.value).template,
        make_budget(EPOCHS.value),
        width=WIDTH.value,
        depth=DEPTH.value,
        resolution=RESOLUTION.value,
    )
    fields = ("width", "depth", "resolution")
    return spaces.get_space(
        SPACE.value, **{field: getattr(base, field) for field in fields}
    )


def _score_shared(supernet, children, workdir):
    """Returns {name: score by the supernet}; those in its file are kept."""
    path = workdir / SHARED
    rows = files.read_json_lines(path, {"name": str}) if path.exists() else []
    scores = {row["name"]: row["score"] for row in rows}
    for name, variant in children.items():
        if name in scores:
            continue
        trained = scoring.load(
            supernet.budget, str(workdir / "supernet"), DATA_DIR.value
        )
        scores[name] = scoring.score(trained, variant)
        files.append_json_line(path, {"name": name, "score": scores[name]})
    return scores


@dataclasses.dataclass(frozen=True)
class _Alone:
    networks: dict[str, variants.Variant]
    budget: trials.Budget


def _train_alone(networks, budget, folder):
    """Returns {name: the accuracy of each seed}."""
    trials.start_study(_Alone(networks, budget), networks, folder)
    trials.run_trials(list(networks), budget, folder, data_dir=DATA_DIR.value)
    return {name: trials.read_scores(name, budget, folder) for name in networks}


if __name__ == "__main__":
    app.run(main)
