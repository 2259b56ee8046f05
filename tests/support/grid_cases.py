"""Works on a grid of tiny runs; killed where a test says.

python tests/support/grid_cases.py WORKDIR FOLDER WEIGHTS KILLED_AT
"""

import dataclasses
import os
import signal
import sys

import samples
from efficientnet_tf.models import variants
from efficientnet_tf.training import progress
from efficientnet_tf.utils import run_folder
from transfer.sweep import plan as plan_lib, runs


def make_plan(folder, weights, **changes):
    """Two rates, two seeds, on a folder of two classes."""
    settings = {
        "epochs": 2,
        "batch_size": 4,
        "resolution": 32,
        "head": "random",
    }
    plan = plan_lib.Plan(
        tasks=(f"folder:{folder}",),
        models=("tiny",),
        recipes=("full",),
        weights=str(weights),
        seeds=2,
        search=("learning_rate=0.001,0.01",),
        settings=tuple(f"{key}={value}" for key, value in settings.items()),
    )
    return dataclasses.replace(plan, **changes)


class _Killer(progress.Throughput):
    """Kills the process after so many steps over all its runs."""

    left = 0

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        _Killer.left -= 1
        if _Killer.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.modules["optuna"] = None  # A plain grid runs without it.
    workdir, folder, weights, killed_at = sys.argv[1:]
    variants.VARIANTS["tiny"] = samples.make_tiny_row(variants)
    _Killer.left = int(killed_at)
    progress.Throughput = _Killer
    plan = make_plan(folder, weights)
    run_folder.start_study(plan, workdir)
    runs.run_sweep(plan, workdir)
