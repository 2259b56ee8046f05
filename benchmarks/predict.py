"""Images per second of `predict`, ours and a peer's, from equal weights.

python benchmarks/predict.py --model=efficientnet_b0 --batch_size=32 \
    --resolution=224
"""

import functools

import numpy as np
import peers
from absl import app, flags

MODEL = flags.DEFINE_string("model", "efficientnet_b0", "A network's name.")
IMAGES = flags.DEFINE_integer("images", 256, "Images a call.", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images a step.", 1)
RESOLUTION = flags.DEFINE_integer("resolution", 224, "Pixels a side.", 32)
ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed calls of each side.", 1)


def main(_):
    ours = peers.make_ours(MODEL.value, RESOLUTION.value)
    theirs, peer = peers.make_theirs(ours, RESOLUTION.value)
    images = peers.make_batches(1, IMAGES.value, RESOLUTION.value)[0][0]
    calls = {
        name: functools.partial(
            network.predict, images, batch_size=BATCH_SIZE.value, verbose=0
        )
        for name, network in (("ours", ours), ("theirs", theirs))
    }
    logits = {name: call() for name, call in calls.items()}  # The warm-up.
    result = {
        "benchmark": "predict",
        "model": MODEL.value,
        "peer": peer,
        "images": IMAGES.value,
        "batch_size": BATCH_SIZE.value,
        "resolution": RESOLUTION.value,
        # Of the largest logit: those of random weights are small.
        "max_logit_difference": float(
            np.abs(logits["ours"] - logits["theirs"]).max()
            / np.abs(logits["theirs"]).max()
        ),
    }
    seconds = peers.time_interleaved(calls, ROUNDS.value)
    peers.print_result(seconds, IMAGES.value, result)


if __name__ == "__main__":
    app.run(main)
