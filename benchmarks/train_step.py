"""Train steps per second of ours and of a peer, from equal weights.

python benchmarks/train_step.py --model=efficientnet_b0 --batch_size=16 \
    --resolution=224
"""

import functools
import json
import resource
import subprocess
import sys

import keras
import peers
from absl import app, flags

MODEL = flags.DEFINE_string("model", "efficientnet_b0", "A network's name.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images a step.", 1)
RESOLUTION = flags.DEFINE_integer("resolution", 224, "Pixels a side.", 32)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    None,
    "By default 0.01, and 1e-5 for Lite: a change of 1e-7 in the weights moves "
    "the gradient of relu6 networks by 1 %, and the losses with it.",
)
ROUNDS = flags.DEFINE_integer("rounds", 12, "Timed steps of each side.", 1)
MEMORY_OF = flags.DEFINE_enum(
    "memory_of", None, ["ours", "theirs"], "Only this side's peak memory."
)

LOSS_STEPS = 5  # Also the warm-up.


def main(_):
    if MEMORY_OF.value is not None:
        print_peak_memory(MEMORY_OF.value)
        return
    # First, as a process counts what its parent held when it started it.
    memory = {
        f"{side}_peak_memory_mib": measure_memory(side)
        for side in ("ours", "theirs")
    }
    sides, peer = make_sides()
    losses = {name: train_losses(side) for name, side in sides.items()}
    images, labels = make_batches()[0]
    steps = {
        name: functools.partial(side.train_on_batch, images, labels)
        for name, side in sides.items()
    }
    seconds = peers.time_interleaved(steps, ROUNDS.value)
    result = {
        "benchmark": "train_step",
        "model": MODEL.value,
        "peer": peer,
        "batch_size": BATCH_SIZE.value,
        "resolution": RESOLUTION.value,
        "steps": ROUNDS.value,
        "max_loss_difference": max(
            abs(ours - theirs)
            for ours, theirs in zip(
                losses["ours"], losses["theirs"], strict=True
            )
        ),
        "learning_rate": learning_rate(),
        **memory,
    }
    peers.print_result(seconds, BATCH_SIZE.value, result)


def make_sides():
    """Returns {"ours": ..., "theirs": ...}, compiled, and the peer's name."""
    ours = peers.make_ours(MODEL.value, RESOLUTION.value)
    theirs, peer = peers.make_theirs(ours, RESOLUTION.value)
    sides = {"ours": ours, "theirs": theirs}
    for network in sides.values():
        network.compile(
            keras.optimizers.SGD(learning_rate(), momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    return sides, peer


def learning_rate():
    if LEARNING_RATE.value is not None:
        return LEARNING_RATE.value
    return 1e-5 if "_lite" in MODEL.value else 0.01


def make_batches():
    return peers.make_batches(LOSS_STEPS, BATCH_SIZE.value, RESOLUTION.value)


def train_losses(network):
    """Returns the losses of the first steps, each on its own batch."""
    losses = []
    for images, labels in make_batches():
        network.reset_metrics()  # Else Keras reports the running mean.
        losses.append(float(network.train_on_batch(images, labels)))
    return losses


def measure_memory(side):
    """Trains one side in a process of its own; returns its peak in MiB."""
    command = [sys.executable, *sys.argv, f"--memory_of={side}"]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])["peak_memory_mib"]


def print_peak_memory(side):
    """Trains one side and prints the process's peak memory as JSON."""
    # Both processes hold both networks; only one of them trains.
    train_losses(make_sides()[0][side])
    # Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"peak_memory_mib": peak}))


if __name__ == "__main__":
    app.run(main)
