"""`efficientnet train` with a tiny network, stopped after a step of the run.

python tests/support/interrupted_train.py HOW STEP [flags of train]

HOW: a signal such as SIGKILL, "hang", or "never". SIGKILL@1 is for worker 1
alone, and SIGTERM@parent for the process that started the workers.
"""

import json
import os
import signal
import sys
import time

import samples
from efficientnet_tf.commands import main
from efficientnet_tf.models import variants
from efficientnet_tf.training import callbacks

HOW, _, WHO = sys.argv[1].partition("@")
STEP = int(sys.argv[2])
WORKER = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {})


class _Stopper(callbacks.StopOnBadLoss):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == STEP and HOW != "never":
            if WHO == "parent" and WORKER["index"] == 0:
                os.kill(os.getppid(), getattr(signal, HOW))
            elif WHO in ("", str(WORKER.get("index"))):
                _stop()


def _stop():
    if HOW == "hang":
        time.sleep(1000)
    os.kill(os.getpid(), getattr(signal, HOW))


if __name__ == "__main__":
    # A job in a shell's background inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    variants.VARIANTS["tiny"] = samples.make_tiny_row(variants)
    callbacks.StopOnBadLoss = _Stopper
    main.run("train", ["efficientnet train", "--model=tiny", *sys.argv[3:]])
