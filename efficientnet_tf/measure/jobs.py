"""Measurement jobs, and the separate process that each one runs in."""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from efficientnet_tf.models import registry, variants
from efficientnet_tf.utils import children, configs

BACKENDS = ("tensorflow", "jax")


@dataclasses.dataclass(frozen=True)
class Job:
    """A network and the conditions to measure it under.

    `model` is a name or a variant file. `resolution` is in pixels; None: the
    network's own. `batches` are timed after `warmup_batches`. `backend` is
    Keras's, in the process that measures.
    """

    model: str
    resolution: int | None = None
    batch_size: int = 1
    precision: str = "float32"
    backend: str = "tensorflow"
    warmup_batches: int = 5
    batches: int = 50

    def __post_init__(self):
        configs.check_types(self)
        _check_choice("precision", self.precision, configs.PRECISIONS)
        _check_choice("backend", self.backend, BACKENDS)
        _ = self.variant  # Checks the name, the file and the resolution.
        for field in ("batch_size", "batches"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} must be at least 1, got {getattr(self, field)}."
                )

    @functools.cached_property
    def variant(self) -> variants.Variant:
        """The `Variant` to measure, at the job's resolution."""
        variant = registry.get_variant(self.model)
        if self.resolution is None:
            return variant
        return dataclasses.replace(variant, resolution=self.resolution)

    @property
    def size(self) -> int:
        """The side of its images in pixels."""
        return self.variant.resolution

    def make_images(self) -> np.ndarray:
        """Returns one batch of noise, float32 in [0, 255]."""
        shape = (self.batch_size, self.size, self.size, 3)
        return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def run_apart(function: Callable[[Job], dict], job: Job) -> dict:
    """Returns `function(job)`, called in a new process on the job's backend.

    Args:
      function: defined at the top of a module, so that the process finds it.
      job: its argument.

    Raises:
      RuntimeError: the process failed; the message says why.
    """
    program = (
        "import importlib, json, sys\n"
        "from efficientnet_tf.measure import jobs\n"
        "module, name, fields = sys.argv[1:]\n"
        "function = getattr(importlib.import_module(module), name)\n"
        "print(json.dumps(function(jobs.Job(**json.loads(fields)))))\n"
    )
    fields = json.dumps(dataclasses.asdict(job))
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        children.tie(
            [*command, function.__module__, function.__name__, fields]
        ),
        env={**os.environ, "KERAS_BACKEND": job.backend, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        reason = lines[-1]
        if done.returncode < 0:
            reason = f"killed by signal {-done.returncode}, maybe out of memory"
        raise RuntimeError(f"{function.__name__} failed: {reason}.")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _check_choice(what, value, choices):
    if value not in choices:
        raise ValueError(configs.unknown(what, value, choices))
