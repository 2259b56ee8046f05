"""RMSProp and moving averages as TensorFlow 1 had them, written out."""

import json
import os
import subprocess
import sys

import numpy as np

import paths

# Zero, small and large ones, and a change of sign.
GRADIENTS = [[1.0, 0.0, 1e-3], [0.5, 2.0, -1e-3], [-3.0, 0.0, 0.1], [1, 1, 1]]


START = [1.0, -2.0, 0.0]


def rmsprop(values, gradients, rates):
    """TensorFlow 1's RMSProp, written out; yields the values of each step."""
    values = np.array(values, "float64")
    mean_square, momentum = np.ones_like(values), np.zeros_like(values)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = np.array(gradient, "float64")
        mean_square = mean_square * 0.9 + 0.1 * gradient**2
        momentum = 0.9 * momentum + rate * gradient / np.sqrt(
            mean_square + 1e-3
        )
        values = values - momentum
        yield values


def moving_averages(start, values, decay):
    """TensorFlow 1's moving average, written out, after each value."""
    average = np.array(start, "float64")
    averages = []
    for number, value in enumerate(values, start=1):
        ramped = min(decay, (1 + number) / (10 + number))
        average = ramped * average + (1 - ramped) * np.array(value, "float64")
        averages.append(average)
    return averages


def run(program, *arguments, **environment):
    """Runs a program; returns what its last line of output says."""
    output = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=paths.ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout.splitlines()[-1])
