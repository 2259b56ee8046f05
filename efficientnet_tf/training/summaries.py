"""What TensorBoard shows of a run: one line of scores, its config, images."""

import contextlib
import pathlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from efficientnet_tf.utils import files, run_folder, tables

# Charts stand in the order of their groups' names: the score that the task goes
# by comes before images, learning rate and loss.
GROUPS = {
    "top1": "accuracy",
    "top5": "accuracy",
    "mean_per_class": "accuracy",
    "map": "average_precision",
    "r2": "determination",
    "augmented": "images",
    "confusion": "images",
    "loss": "loss",
    "cross_entropy": "loss",
    "l2": "loss",
    "distillation": "loss",
}
OTHERS = "training"  # The group of every other name.

# What stands before a name in an epoch's logs, and after it in TensorBoard.
_PARTS = {"val_ema_": "validation_average", "val_": "validation", "": "train"}


@contextlib.contextmanager
def writing(workdir: pathlib.Path, run: dict) -> Iterator[None]:
    """Writes a run's config; `tf.summary` inside goes to TensorBoard, step 0.

    Args:
      workdir: the run's folder.
      run: its config, as `run_folder.start_run` has checked it.
    """
    files.write_json(workdir / run_folder.CONFIG_FILE, run)
    # One writer from beginning to end: where a folder has several files, a
    # TensorBoard that is open reads only on in the newest.
    writer = tf.summary.create_file_writer(str(workdir / run_folder.LOGS))
    with contextlib.closing(writer), writer.as_default(step=0):
        tf.summary.text(
            "config", tables.to_markdown(("field", "value"), run.items())
        )
        yield


def tag(name: str, part: str | None = None) -> str:
    """Returns what a score or an image is called in TensorBoard.

    Args:
      name: e.g. "top1".
      part: the images that it is of, e.g. "test"; None: of all.
    """
    group = GROUPS.get(name, OTHERS)
    return f"{group}/{name}" + (f"_{part}" if part else "")


def tag_log(name: str) -> str:
    """Returns what an entry of an epoch's logs is called in TensorBoard."""
    prefix = next(prefix for prefix in _PARTS if name.startswith(prefix))
    bare = name.removeprefix(prefix)
    # The rest, such as the learning rate, is of no images.
    of_images = prefix or GROUPS.get(bare, OTHERS) != OTHERS
    return tag(bare, _PARTS[prefix] if of_images else None)


class Curves(keras.callbacks.Callback):
    """Gives each epoch's logs to the writer of `writing`, if there is one.

    Keras's own callback makes two runs of one, `train` and `validation`.
    """

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            tf.summary.scalar(tag_log(name), float(value), step=epoch + 1)
        tf.summary.flush()


class Profile(keras.callbacks.TensorBoard):
    """Records steps for TensorBoard's profile plugin, and no curves.

    Args:
      workdir: the run's folder.
      steps: the first and last step, from the beginning of `fit`.
    """

    def __init__(self, workdir: pathlib.Path, steps: tuple[int, int]):
        super().__init__(
            workdir / run_folder.LOGS, write_graph=False, profile_batch=steps
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Leaves the logs to `Curves`."""
