r"""Searches the baseline that scaling starts from.

efficientnet architect --recipe=smoke --data_dir=DIR --workdir=/tmp/architect

Writes found.json, which `efficientnet train --model` and `efficientnet search
--base` take. Killed at any moment, the same command resumes; more processes
with the same flags, or --workers, share the work. --evaluator=naswot trains
nothing; --evaluator=supernet --space=elastic trains one network, whose slices
all candidates are; --evaluator=tabular --benchmark=FILE searches
NAS-Bench-Macro.
The soft reward of --objective=mnas cannot hit a target: mnas_hard holds it.
"""

import sys

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs

SPACE = flags.DEFINE_string(
    "space", "mnasnet", "mnasnet, efficientnet_v2, elastic or a JSON file."
)
OBJECTIVE = flags.DEFINE_string(
    "objective", "mnas", "mnas, mnas_hard, abs or front."
)
COST = flags.DEFINE_string(
    "cost",
    "multiply_adds",
    "multiply_adds, params, or, measured here, latency_ms and latency_int8_ms "
    "of the LiteRT file, and step_ms of training.",
)
TARGET = flags.DEFINE_float(
    "target",
    0.0,
    "Target cost; 0: that of the space's starting network.",
    0,
)
EXPONENT = flags.DEFINE_float(
    "exponent", None, "Of the objective; by default its paper's."
)
SEARCHER = flags.DEFINE_string(
    "searcher", "evolution", "random, evolution, ppo, tpe, nsga2 or nsga3."
)
EVALUATOR = flags.DEFINE_string(
    "evaluator", "train", "train, supernet, naswot, tabular."
)
BENCHMARK = flags.DEFINE_string(
    "benchmark", None, "Of --evaluator=tabular: NAS-Bench-Macro's JSON or .xz."
)
SUPERNET = flags.DEFINE_string(
    "supernet",
    None,
    "Of --evaluator=supernet: its folder, for several searches; by default in "
    "--workdir.",
)
TRIALS = flags.DEFINE_integer(
    "trials", 0, "Candidates; 0: 4 for the recipe smoke, else 200.", 0
)
SEED = flags.DEFINE_integer("seed", 0, "Of the search.", 0, configs.MAX_INT)
WIDTH = flags.DEFINE_float(
    "width",
    0.0,
    "Multiplies all filters; 0: by 0.25 for the recipe smoke, else by 1.",
    0,
    variants.MAX_SCALE,
)
DEPTH = flags.DEFINE_float(
    "depth",
    0.0,
    "Multiplies all repeats; 0: by 0.5 for the recipe smoke, else by 1.",
    0,
    variants.MAX_SCALE,
)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    0,
    "Pixels a side; 0: the recipe's, or the starting network's own.",
    0,
    variants.MAX_SIZE,
)
BUDGET = shared.BudgetFlags(
    "imagenet2012", "What to choose on.", 1, "candidate"
)
PEERS = flags.DEFINE_list(
    "peers",
    [
        *("efficientnet_b0", "efficientnet_lite0"),
        *("mobilenet_v2", "efficientnet_v2_b0"),
    ],
    "Networks that are scored alike for the report, or none.",
)
AGAINST = flags.DEFINE_string(
    "against", None, "Folder of another search, e.g. by random, to compare."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for candidates, the network found and the report."
)
WORKERS = flags.DEFINE_integer(
    "workers", 1, shared.WORKERS_HELP, 1, shared.MAX_WORKERS
)
STORAGE = flags.DEFINE_string(
    "storage",
    None,
    "Database that several machines share: postgresql://USER@HOST/NAME, or "
    "sqlite:///FILE on one; by default files in the workdir. A password is "
    "better in ~/.pgpass.",
)
STUDY = flags.DEFINE_string("study", "architect", "The search's name there.")
INPUT_WAIT = shared.define_input_wait()
flags.mark_flags_as_required(["workdir"])

# With the recipe smoke, which only shows that all works, and otherwise.
DEFAULTS = {
    True: {"trials": 4, "width": 0.25, "depth": 0.5},
    False: {"trials": 200, "width": 1.0, "depth": 1.0},
}


def main(_: list[str]) -> None:
    shared.set_input_wait(INPUT_WAIT.value)
    from efficientnet_tf.search.architect import (
        flow,
        measurements,
        plans,
        runs,
    )
    from efficientnet_tf.utils import extras, workers

    extras.require("Charts", "matplotlib")
    measurements.check(COST.value)
    plan = _make_plan()
    if STORAGE.value is not None:
        _check_storage(plan)
    peers = flow.list_peers(plan, _name_peers(), _scale()) if plan.space else {}
    against = flow.read_other(AGAINST.value, plan)
    if plan.evaluator in flow.TRAINING:
        shared.check_trials(BUDGET.dataset.value)
    elif plan.evaluator == "naswot":
        shared.check_dataset(BUDGET.dataset.value)
    cost = measurements.of_job(plan.objective.cost)
    if not workers.is_worker():
        flow.check(plan, measurements.find(plan.objective.cost), DATA_DIR.value)
    storage = _open_storage(plan)
    plans.start(plan, WORKDIR.value)
    if plan.evaluator == "supernet" and not workers.is_worker():
        flow.log_left_out(_name_peers(), list(peers))
    with shared.exiting_when_preempted():
        flow.run(
            plan,
            WORKDIR.value,
            cost,
            storage,
            data_dir=DATA_DIR.value,
            workers=WORKERS.value,
        )
        if workers.is_worker():
            sys.exit()  # The process that started this one writes the report.
        scored = flow.score_peers(
            plan, peers, WORKDIR.value, cost, DATA_DIR.value
        )
    rows = runs.read_rows(plan, storage)
    commands = flow.next_commands(plan, WORKDIR.value, DATA_DIR.value)
    found = flow.finish(
        plan,
        rows,
        scored,
        WORKDIR.value,
        against=against,
        commands=commands,
    )
    weights = flow.keep_weights(plan, found, WORKDIR.value, DATA_DIR.value)
    _print_summary(plan, rows, found, commands, weights)


def _scale():
    """Returns --width, --depth and --resolution."""
    return {
        "width": _value(WIDTH),
        "depth": _value(DEPTH),
        "resolution": RESOLUTION.value,
    }


def _value(flag):
    """Returns a flag's value, or its default for the recipe where it is 0."""
    from efficientnet_tf.search.architect import flow

    trains = EVALUATOR.value in flow.TRAINING
    smoke = BUDGET.recipe.value == "smoke" and trains
    return flag.value or DEFAULTS[smoke][flag.name]


def _name_peers():
    """Returns --peers; an empty flag would be refused."""
    return [] if PEERS.value == ["none"] else PEERS.value


def _make_plan():
    from efficientnet_tf.search.architect import flow

    budget = BUDGET.make()
    return flow.make_plan(
        SPACE.value,
        budget,
        _scale(),
        objective={
            "kind": OBJECTIVE.value,
            "cost": COST.value,
            "exponent": EXPONENT.value,
            "target": TARGET.value,
        },
        searcher=SEARCHER.value,
        evaluator=EVALUATOR.value,
        benchmark=BENCHMARK.value,
        supernet=SUPERNET.value,
        seed=SEED.value,
        trials=_value(TRIALS),
    )


def _check_storage(plan):
    """Checks --storage before any work, and names what machines differ in."""
    from absl import logging

    from efficientnet_tf.search.architect import objectives
    from efficientnet_tf.utils import extras, workers

    extras.require("Searches in a database", "optuna")
    from efficientnet_tf.search.architect import databases

    databases.read_address(STORAGE.value)
    if plan.evaluator == "supernet" and not plan.supernet:
        # Each machine would train its own, and their scores do not compare.
        raise ValueError(
            "--storage with --evaluator=supernet needs --supernet=FOLDER, one "
            "that all machines see."
        )
    if (
        plan.objective.cost not in objectives.COUNTED
        and not workers.is_worker()
    ):
        logging.warning(
            "--cost=%s is measured on the machine that tries a candidate: use "
            "--storage with equal machines only.",
            plan.objective.cost,
        )


def _open_storage(plan):
    if STORAGE.value is None:
        from efficientnet_tf.search.architect import storages

        return storages.Files(WORKDIR.value)
    from efficientnet_tf.search.architect import databases

    return databases.Database(STORAGE.value, STUDY.value, plan)


def _print_summary(plan, rows, found, commands, weights):
    from efficientnet_tf.search.architect import flow

    failed = sum("failed" in row for row in rows)
    warning = plan.objective.warn(found["cost"])
    report = f"{WORKDIR.value}/{flow.REPORT_FILE}"
    network = f"{WORKDIR.value}/{flow.FOUND_FILE}"
    facts = {
        flow.score_name(plan): flow.score_text(plan, found["score"]),
        "cost": plan.objective.show(found["cost"]),
        "warning": warning,
        "note": flow.smoke_note(plan),
        "network": network if plan.space else None,
        "weights": weights,
        "report": report,
    }
    summary.print_summary(
        f"{len(rows)} candidates, {failed} failed.", facts, commands
    )
    result = {
        "candidates": len(rows),
        "failed": failed,
        "score": found["score"],
        plan.objective.cost: found["cost"],
        "reward": found["reward"],
        "target": plan.objective.target,
        "network": network if plan.space else None,
        "weights": weights,
        "report": report,
    }
    program.print_result(result)


if __name__ == "__main__":
    program.run(main, program.RESUMES)
