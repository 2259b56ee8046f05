"""Opens any trained classifier, each kind with the runtime that it is for."""

import os

from efficientnet_tf.deploy import formats
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import run_folder
from efficientnet_tf.weights import downloads, hub


def load_classifier(path: str | os.PathLike) -> classifier_lib.Classifier:
    """Opens a run, a SavedModel, or a file of `formats.FORMATS`.

    All predict alike; `model` of what Keras does not run has `predict_on_batch`
    alone.

    Args:
      path: see `formats.find`; or "hf://USER/REPO[@REVISION]", what
        `efficientnet share` has put on the Hugging Face hub.

    Raises:
      OSError: the hub cannot be reached, or refuses; see `hub.fetch`.
      FileNotFoundError: there is nothing, or it does not name its classes.
      ModuleNotFoundError: its runtime is not installed.
      ValueError: it is damaged, or of no such kind.
    """
    if hub.is_name(path):
        fetched = hub.fetch_classifier(str(path))
        with downloads.confirmed(fetched):
            return classifier_lib.from_run(os.path.dirname(fetched))
    path = formats.find(path)
    if path.is_dir():
        if formats.is_run(path):
            return classifier_lib.from_run(path)
        from efficientnet_tf.deploy import saved_model
        from efficientnet_tf.inference import signatures

        signatures.warn(path)
        return saved_model.load(path)
    if path.name == run_folder.MODEL_FILE and formats.is_run(path.parent):
        return classifier_lib.from_run(path.parent)
    row = formats.SUFFIXES[path.suffix]
    classifier = row.load_module(*row.runtime).load(path)
    if classifier is None:
        raise FileNotFoundError(
            f"{path} does not say what its classes are and how images are "
            "prepared, as files of `efficientnet export` do."
        )
    return classifier
