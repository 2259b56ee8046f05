"""A search for a baseline from its flags to its report."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from efficientnet_tf.data.sets import sources
from efficientnet_tf.models import registry, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import (
    evaluators,
    objectives,
    plans,
    report,
    runs,
    spaces,
    storages,
    tabular,
)
from efficientnet_tf.search.architect.supernet import scoring, training
from efficientnet_tf.utils import configs, files, run_folder, workers as pool

FOUND_FILE = "found.json"
FOUND = "found"  # Its weights, if it has any.
PEERS_FILE = "peers.jsonl"
REPORT_FILE = report.REPORT_FILE
SHOW_SECONDS = 10.0  # Between two lines of progress.

# Evaluators that train by the budget.
TRAINING = ("train", evaluators.SUPERNET)

# Of two searches that a report compares.
_SAME = ("space", "evaluator", "budget", "benchmark")


def make_plan(
    space: str,
    budget: trials.Budget,
    scale: Mapping[str, Any],
    *,
    objective: Mapping[str, Any],
    evaluator: str,
    benchmark: str | None = None,
    **fields: Any,
) -> plans.Plan:
    """Returns the plan that flags ask for.

    Args:
      space: a name or a file.
      budget: of training; its recipe's resolution is the space's.
      scale: "width", "depth" and "resolution" as in `trials.base_variant`.
      objective: fields of `objectives.Objective`; a target of 0 is the cost of
        the space's starting network.
      evaluator: one of `evaluators.EVALUATORS`.
      benchmark: the file of a tabular benchmark.
      **fields: others of `plans.Plan`.

    Raises:
      ValueError, OSError: a choice is unknown, or does not go with another.
    """
    if evaluator not in evaluators.EVALUATORS:
        raise ValueError(
            configs.unknown("evaluator", evaluator, evaluators.EVALUATORS)
        )
    needs_space = evaluators.EVALUATORS[evaluator].needs_space
    if needs_space == (benchmark is not None):
        raise ValueError(
            "--benchmark=FILE and --evaluator=tabular go together."
        )
    if fields.get("supernet") and evaluator != evaluators.SUPERNET:
        raise ValueError(
            "--supernet=FOLDER goes with --evaluator=supernet only."
        )
    common = {**fields, "evaluator": evaluator, "benchmark": benchmark}
    if not needs_space:
        made = _make_objective(objective, None)
        return plans.Plan(None, tabular.SIZES, made, **common)
    base = trials.base_variant(
        spaces.get_space(space).template, budget, **scale
    )
    own = spaces.get_space(
        space,
        width=base.width,
        depth=base.depth,
        resolution=base.resolution,
    )
    made = _make_objective(objective, own.template)
    plan = plans.Plan(own, own.sizes, made, budget=budget, **common)
    if evaluator == evaluators.SUPERNET:
        evaluators.make_supernet(plan)
    return plan


def check(
    plan: plans.Plan,
    cost: Callable[[variants.Variant], float],
    data_dir: str | None = None,
) -> None:
    """Checks before any work that a search can end well.

    Raises:
      ValueError, OSError: no network meets the target, the data or the
        benchmark cannot be read, or a split is in the other.
    """
    if plan.space is None:
        tabular.read(plan.benchmark or "").check_limit(
            plan.objective.cost, plan.objective.target
        )
        return
    plans.check_target(plan, cost)
    if plan.budget is None:
        return
    if plan.evaluator == evaluators.SUPERNET and plan.supernet:
        training.check_folder(evaluators.make_supernet(plan), plan.supernet)
    if plan.evaluator in TRAINING:
        trials.check_splits(plan.budget, data_dir)
    else:
        sources.load(plan.budget.dataset, plan.budget.splits[0], data_dir)


def run(
    plan: plans.Plan,
    workdir: str,
    cost: runs.Cost,
    storage: storages.Storage,
    *,
    data_dir: str | None = None,
    workers: int = 1,
) -> None:
    """Tries the candidates that are left, here or in `workers` processes.

    Before that, whoever comes first trains the supernet, if one is to score.

    Raises:
      RuntimeError: the first candidates all failed, or a process did.
      callbacks.Preempted: a signal arrived; the state is saved.
    """
    progress = pool.Progress(lambda: runs.count(plan, storage))
    progress.show()
    shown = time.monotonic()

    def show() -> None:
        nonlocal shown
        if time.monotonic() - shown > SHOW_SECONDS:
            progress.show()
            shown = time.monotonic()

    if workers > 1:
        pool.run_workers(workdir, workers, progress)
        return
    # Not before: this process would keep the memory of the workers' GPU.
    if plan.evaluator == evaluators.SUPERNET:
        training.run(
            evaluators.make_supernet(plan),
            evaluators.find_supernet(plan, workdir),
            data_dir,
        )
    runs.work(
        plan,
        workdir,
        cost,
        storage=storage,
        data_dir=data_dir,
        on_run=show,
    )


def list_peers(
    plan: plans.Plan, names: Sequence[str], scale: Mapping[str, Any]
) -> dict[str, variants.Variant]:
    """Returns {short name: network} of known networks at the plan's scale.

    With a supernet only those of its space.
    """
    if plan.budget is None:
        return {}
    peers = {
        variants.short_name(name): trials.base_variant(
            name, plan.budget, **scale
        )
        for name in names
    }
    if plan.evaluator != evaluators.SUPERNET or plan.space is None:
        return peers
    return {k: v for k, v in peers.items() if plan.space.has(v)}


def log_left_out(names: Sequence[str], peers: Sequence[str]) -> None:
    """Says which known networks `list_peers` left out."""
    short = [variants.short_name(name) for name in names]
    lacks = [name for name in short if name not in peers]
    if lacks:
        logging.info(
            "Left out %d of %d known networks, which are not in the space and "
            "have no weights in its supernet: %s.",
            len(lacks),
            len(names),
            ", ".join(lacks),
        )


def score_peers(
    plan: plans.Plan,
    peers: Mapping[str, variants.Variant],
    workdir: str,
    cost: runs.Cost,
    data_dir: str | None = None,
) -> list[dict]:
    """Returns a row for each peer, scored as candidates are; kept in a file."""
    path = pathlib.Path(workdir) / PEERS_FILE
    with pool.lock(workdir, "peers"):
        rows = (
            files.read_json_lines(path, {"name": str}) if path.exists() else []
        )
        known = {row["name"]: row for row in rows}
        for name, variant in peers.items():
            if name in known:
                continue
            job = evaluators.Job(
                plan, f"peer-{name}", (), variant, workdir, data_dir
            )
            known[name] = {**runs.try_job(job, cost), "name": name}
            files.append_json_line(path, known[name])
    return [known[name] for name in peers]


def read_other(folder: str | None, plan: plans.Plan) -> list[dict] | None:
    """Returns the rows of another search that can be compared with a plan's.

    Raises:
      OSError: there is none.
      ValueError: it is one of something else.
    """
    if folder is None:
        return None
    path = pathlib.Path(folder) / run_folder.PLAN_FILE
    stored = run_folder.read_config(path)
    own = files.to_json_types(dataclasses.asdict(plan))
    for field in _SAME:
        if stored.get(field) != own[field]:
            raise ValueError(
                f"{folder} cannot be compared: its {field} is another."
            )
    return runs.read_rows(
        dataclasses.replace(plan, trials=plans.MAX_TRIALS),
        storages.Files(folder),
    )


def finish(
    plan: plans.Plan,
    rows: Sequence[dict],
    peers: Sequence[dict],
    workdir: str | os.PathLike,
    *,
    against: Sequence[dict] | None = None,
    commands: Sequence[Sequence[str]] = (),
) -> dict:
    """Writes the network found, all rows and the report.

    Args:
      plan: of the search.
      rows: of `runs.read_rows`.
      peers: of `score_peers`.
      workdir: the search's folder.
      against: of `read_other`.
      commands: what to do next.

    Returns:
      The row of the network found.

    Raises:
      RuntimeError: no candidate has a score.
    """
    found = objectives.find_best(rows)
    if found is None:
        reasons = [row["failed"] for row in rows if "failed" in row]
        raise RuntimeError(f"No candidate has a score: {reasons[-1:]}.")
    folder = pathlib.Path(workdir)
    files.write_json_lines(folder / run_folder.RESULTS_FILE, rows)
    variant = None
    if plan.space is not None:
        variant = plan.space.decode(found["genotype"])
        registry.write_file(folder / FOUND_FILE, variant)
    report.write(
        report.Found(
            plan,
            list(rows),
            found,
            variant,
            list(peers),
            against,
            commands,
        ),
        folder,
    )
    return found


def keep_weights(
    plan: plans.Plan,
    found: Mapping[str, Any],
    workdir: str | os.PathLike,
    data_dir: str | None = None,
) -> str | None:
    """Saves the network found with its weights, if they are a supernet's.

    Returns:
      The folder, which `predict` and `evaluate` take; None: there are none.
    """
    if plan.evaluator != evaluators.SUPERNET or plan.space is None:
        return None
    trained = scoring.load(
        plan.budget, evaluators.find_supernet(plan, workdir), data_dir
    )
    folder = pathlib.Path(workdir) / FOUND
    scoring.take_out(trained, plan.space.decode(found["genotype"])).save(folder)
    return os.fspath(folder)


def score_name(plan: plans.Plan) -> str:
    """Returns what a plan's scores are: "accuracy"."""
    return evaluators.EVALUATORS[plan.evaluator].score


def score_text(plan: plans.Plan, score: float) -> str:
    """Returns a score for people."""
    if evaluators.EVALUATORS[plan.evaluator].is_accuracy:
        return f"{100 * score:.1f} %"
    return f"{score:.1f}"


def smoke_note(plan: plans.Plan) -> str | None:
    """Returns what a search by a smoke recipe says; None for others."""
    if plan.evaluator not in TRAINING or plan.budget is None:
        return None
    if plan.budget.recipe != "smoke":
        return None
    return (
        "a smoke run is too short to rank networks: this only shows that the "
        "search works"
    )


def next_commands(
    plan: plans.Plan, workdir: str, data_dir: str | None
) -> list[list[str]]:
    """Returns the commands that scale the network found, and that train it."""
    if plan.budget is None:
        return []
    train, evaluation = plan.budget.splits
    found = f"{workdir}/{FOUND_FILE}"
    common = [
        f"--recipe={plan.budget.recipe}",
        *(f"--set={setting}" for setting in plan.budget.settings),
        f"--dataset={plan.budget.dataset}",
        f"--train_split={train}",
        f"--eval_split={evaluation}",
        *([f"--data_dir={data_dir}"] if data_dir else []),
    ]
    return [
        ["efficientnet", name, f"--{flag}={found}", *common]
        + [f"--workdir={workdir}/{folder}"]
        for name, flag, folder in (
            ("search", "base", "scaled"),
            ("train", "model", "trained"),
        )
    ]


def _make_objective(fields, template):
    fields = dict(fields)
    if not fields["target"]:
        counted = fields["cost"] in objectives.COUNTED
        if template is None or not counted:
            raise ValueError(
                f"--target is needed with --cost={fields['cost']}"
                + (" and --evaluator=tabular." if template is None else ".")
            )
        fields["target"] = float(plans.count(template)[fields["cost"]])
    made = objectives.Objective(**fields)
    if template is None and made.cost not in objectives.COUNTED:
        raise ValueError(
            f"--cost={made.cost}: a benchmark has "
            f"{' and '.join(objectives.COUNTED)} only."
        )
    return made
