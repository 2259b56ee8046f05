"""A run's configuration, on disk and among TensorBoard's summaries."""

import contextlib
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from efficientnet_tf.utils import files, run_folder, tables


@contextlib.contextmanager
def writing(workdir: pathlib.Path, run: dict) -> Iterator[None]:
    """Writes a run's config; `tf.summary` inside goes to TensorBoard, step 0.

    Args:
      workdir: the run's folder.
      run: its config, as `run_folder.start_run` has checked it.
    """
    files.write_json(workdir / run_folder.CONFIG_FILE, run)
    writer = tf.summary.create_file_writer(str(workdir / "tensorboard/run"))
    with writer.as_default(step=0):
        tf.summary.text(
            "config", tables.to_markdown(("field", "value"), run.items())
        )
        yield
