"""`efficientnet finetune` with a tiny network, stopped in a chosen epoch.

python tests/support/interrupted_finetune.py HOW EPOCH [flags of finetune]

HOW: a signal such as SIGKILL, "full" to fill the disk of --workdir first, or
"never".
"""

import os
import pathlib
import signal
import sys

import samples
from efficientnet_tf.commands import main
from efficientnet_tf.models import variants
from efficientnet_tf.training import progress


class _Stopper(progress.Throughput):
    """Stops the process after the first step of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self._epoch == EPOCH and batch == 0:
            HOW()


def _fill_disk():
    with open(WORKDIR / "filler", "wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


def _pick(how):
    if how == "full":
        return _fill_disk
    if how == "never":
        return lambda: None
    return lambda: os.kill(os.getpid(), getattr(signal, how))


HOW, EPOCH = _pick(sys.argv[1]), int(sys.argv[2])
WORKDIR = pathlib.Path(
    next(a for a in sys.argv if a.startswith("--workdir=")).split("=")[1]
)

if __name__ == "__main__":
    # A job in a shell's background inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    variants.VARIANTS["tiny"] = samples.make_tiny_row(variants)
    progress.Throughput = _Stopper
    main.run(
        "finetune", ["efficientnet finetune", "--model=tiny", *sys.argv[3:]]
    )
