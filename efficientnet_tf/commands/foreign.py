"""How well a classifier tells unknown images, as `evaluate --unknown` says."""

import dataclasses
import pathlib
import typing

from absl import logging

from efficientnet_tf.commands import classifier_flags, held_out, summary
from efficientnet_tf.utils import words

if typing.TYPE_CHECKING:
    import numpy as np

    from efficientnet_tf.data import examples as examples_lib
    from efficientnet_tf.inference import classifier as classifier_lib


def make_judge(
    classifier: "classifier_lib.Classifier",
    named: classifier_flags.ClassifierFlags,
    data_dir: str | None,
) -> "Judge":
    """Returns what scores unknown images by a classifier's detector.

    Args:
      classifier: of a run of an earlier version, gets a detector.
      named: the flags that it was named by.
      data_dir: where TensorFlow Datasets keeps its sets.

    Raises:
      OSError, RuntimeError, ValueError: it cannot have one.
    """
    if classifier.unknown is None and named.workdir:
        classifier = _add_detector(classifier, named.workdir, data_dir)
    named.check_unknown(classifier)
    return Judge(classifier)


def _add_detector(classifier, run, data_dir):
    """Adds what tells unknown images to a run of an earlier version.

    It is made of the run's training images, and kept with the run.
    """
    from efficientnet_tf.inference import unknown
    from transfer import finished
    from transfer.choice import auto
    from transfer.training import unknown_images

    folder = pathlib.Path(run)
    logging.info(
        "%s has no %s, as runs of earlier versions; making it of its training "
        "images.",
        folder,
        unknown.UNKNOWN_FILE,
    )
    config, loaded = held_out.load_run(run, data_dir)
    if "task" not in config:
        raise ValueError(f"{folder} {unknown.MISSING}.")
    setup = finished.restore_setup(folder, config, loaded)
    classifier, facts = unknown_images.add_detector(
        setup, classifier, auto.list_detectors(folder)
    )
    if classifier.unknown is None:
        raise RuntimeError(
            f"{folder} cannot tell unknown images: {facts['unknown_by']}."
        )
    try:
        unknown.write(folder / unknown.UNKNOWN_FILE, classifier.unknown)
    except OSError as error:
        logging.warning("It is not kept with the run: %s", error)
    return classifier


class Judge:
    """Scores by a classifier's detector what is evaluated.

    Args:
      classifier: with a detector.
    """

    def __init__(self, classifier: "classifier_lib.Classifier"):
        from efficientnet_tf.inference import unknown

        self.detector = classifier.unknown
        self._recorder = unknown.Recorder(classifier.model, self.detector)
        self.classifier = dataclasses.replace(classifier, model=self._recorder)
        self._hits: list[np.ndarray] = []

    def keep(self, scores: "np.ndarray", labels: "np.ndarray") -> None:
        """Notes which images of a batch are right; see `evaluate.evaluate`."""
        self._hits.append(scores.argmax(axis=1) == labels)

    def describe(
        self, other: "examples_lib.Examples | None", batch_size: int
    ) -> dict[str, float | None]:
        """Returns fields of the result, of the images so far and of others.

        Args:
          other: images of no class; None: none are scored.
          batch_size: images per step.
        """
        import numpy as np

        known = self._recorder.scores
        kept = known <= self.detector.threshold
        hits = np.concatenate(self._hits)
        found = {
            "unknown_threshold": self.detector.threshold,
            "kept": float(kept.mean()),
            "top1_of_kept": float(hits[kept].mean()) if kept.any() else None,
        }
        if other is not None:
            found |= self._measure_others(known, other, batch_size)
        return found

    def _measure_others(self, known, other, batch_size):
        import tqdm

        from efficientnet_tf.data import datasets, resumable
        from efficientnet_tf.inference import unknown

        dataset = datasets.make_eval_dataset(
            other, self.classifier.preprocess, batch_size=batch_size
        )
        bar = tqdm.tqdm(
            desc="Scoring others", total=other.size, unit="image", disable=None
        )
        with bar, resumable.explained():
            for images, _ in dataset:
                self._recorder.predict_on_batch(images.numpy())
                bar.update(len(images))
        foreign = self._recorder.scores[len(known) :]
        refused = foreign > self.detector.threshold
        return {
            "other_images": len(foreign),
            "other_refused": float(refused.mean()),
            **unknown.measure(known, foreign),
        }


def list_facts(found: dict, other: str | None) -> dict[str, str]:
    """Returns what `Judge.describe` has found, for `summary.print_summary`."""
    facts = {
        "not unknown": (
            f"{summary.percent_text(found['kept'])}, up to a score of "
            f"{found['unknown_threshold']:.3f}"
        )
    }
    if found["top1_of_kept"] is not None:
        facts["top-1 of these"] = summary.percent_text(found["top1_of_kept"])
    if other is not None:
        facts["unknown among others"] = (
            f"{summary.percent_text(found['other_refused'])} of "
            f"{words.count(found['other_images'], 'image')} of {other}"
        )
        facts["told apart"] = (
            f"AUROC {found['auroc']:.4f}; where 95 % are kept, "
            f"{summary.percent_text(found['fpr95'])} of the others are, too"
        )
    return facts
