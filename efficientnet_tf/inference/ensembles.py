"""Several answers to an image, averaged: of its mirror image, or of runs."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from efficientnet_tf.inference import classifier as classifier_lib, evaluate
from efficientnet_tf.utils import targets


class Flipped:
    """A network that averages the probabilities of an image and its mirror.

    Args:
      network: with `predict_on_batch`.
    """

    def __init__(self, network: Any):
        self._network = network

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities [N, classes] of images [N, H, W, C]."""
        images = np.asarray(images)
        both = [images, images[:, :, ::-1]]
        found = [np.asarray(self._network.predict_on_batch(i)) for i in both]
        return np.mean(found, axis=0)


def with_flip(
    classifier: classifier_lib.Classifier,
) -> classifier_lib.Classifier:
    """Returns a classifier that also looks at the mirror image."""
    network: Any = Flipped(classifier.model)
    return dataclasses.replace(classifier, model=network)


class Ensemble:
    """Classifiers that answer with their mean, of probabilities or numbers.

    Each prepares images in its own way, as `auto` may have chosen for each of
    a cross-validation's runs. Thresholds of labels are averaged, too.

    Args:
      members: two or more, with the same classes.
      names: what messages call them.

    Raises:
      ValueError: they have different classes.
    """

    # What tells unknown images is of one network's features.
    unknown = None

    def __init__(
        self,
        members: Sequence[classifier_lib.Classifier],
        names: Sequence[str],
    ):
        check_same_classes(members, names)
        self.members = tuple(members)
        self.class_names = members[0].class_names
        self.target = members[0].target

    @property
    def outputs(self) -> targets.Outputs:
        """What they answer with."""
        thresholds = average_thresholds(self.members)
        return targets.Outputs(self.class_names, self.target, thresholds)

    def predict_each(
        self,
        paths: Iterable[str | os.PathLike],
        batch_size: int = classifier_lib.BATCH_SIZE,
    ) -> Iterator[tuple[str | os.PathLike, np.ndarray | OSError]]:
        """Does `Classifier.predict_each`; see there."""
        for batch in classifier_lib.batched(paths, batch_size):
            each = [m.predict_each(batch, batch_size) for m in self.members]
            for found in zip(*each, strict=True):
                path, first = found[0]
                if isinstance(first, OSError):
                    yield path, first
                    continue
                yield path, np.mean([answer for _, answer in found], axis=0)


def from_runs(workdirs: Sequence[str | os.PathLike]) -> Ensemble:
    """Returns the `Ensemble` of several runs.

    Raises:
      FileNotFoundError: one is not finished.
      ValueError: they have different classes.
    """
    return Ensemble(
        [classifier_lib.from_run(workdir) for workdir in workdirs],
        [os.fspath(workdir) for workdir in workdirs],
    )


def average_thresholds(
    classifiers: Sequence[classifier_lib.Classifier],
) -> tuple[float, ...]:
    """Returns the mean threshold of each label; (): they have none."""
    each = [classifier.thresholds for classifier in classifiers]
    return tuple(np.mean(each, axis=0).tolist()) if all(each) else ()


def check_same_classes(
    classifiers: Sequence[classifier_lib.Classifier], names: Sequence[str]
) -> None:
    """Raises ValueError unless all have the same classes in the same order.

    Or labels, or numbers.

    Args:
      classifiers: two or more.
      names: what messages call them.
    """
    for other, name in zip(classifiers, names, strict=True):
        if (other.class_names, other.target) != (
            classifiers[0].class_names,
            classifiers[0].target,
        ):
            raise ValueError(
                f"{names[0]} and {name} have different classes, or in another "
                "order; only runs with the same ones can be averaged."
            )


def average_weights(
    classifiers: Sequence[classifier_lib.Classifier],
) -> classifier_lib.Classifier:
    """Returns a classifier whose weights are the mean of several ones'.

    For runs that began from the same weights, such as seeds of one recipe
    (Wortsman et al., 2022, https://arxiv.org/abs/2203.05482). The statistics of
    batch normalization are averaged, too.

    Raises:
      ValueError: they are of different networks, classes or preparations.
    """
    first, *others = classifiers
    for other in others:
        if _settings(other) != _settings(first):
            raise ValueError(
                "Weights are averaged only of classifiers with the same "
                "classes, resolution and preparation of images; average their "
                "predictions."
            )
    weights = [each.model.get_weights() for each in classifiers]
    shapes = [[value.shape for value in each] for each in weights]
    names = [
        [layer.name for layer in each.model.layers] for each in classifiers
    ]
    if any(s != shapes[0] for s in shapes) or any(n != names[0] for n in names):
        raise ValueError(
            "Weights are averaged only of one and the same network; average "
            "predictions of different ones."
        )
    network = keras.models.clone_model(first.model)
    network.set_weights(
        [np.mean(values, axis=0) for values in zip(*weights, strict=True)]
    )
    return dataclasses.replace(first, model=network, temperature=1.0)


def _settings(classifier):
    """Returns what must be alike; of each its head has its temperature."""
    return dataclasses.replace(classifier.settings, temperature=1.0)


def evaluate_mean(
    members: Iterable[tuple[Any, Iterable]],
    labels: np.ndarray,
    *,
    outputs: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
) -> evaluate.Scores:
    """Scores the mean of several networks' probabilities.

    Args:
      members: each network, and its batches of (images, labels), all in one
        order.
      labels: of the images, int [N], in that order.
      outputs: see `evaluate.evaluate`; the same for all.
      progress: called with the number of images of each network's batch.

    Raises:
      ValueError: there are no networks, or their outputs are not alike.
    """
    total: Any = 0.0
    count = 0
    for network, dataset in members:
        rows: list[np.ndarray] = []

        def keep(scores, _, rows=rows):
            rows.append(scores)

        evaluate.evaluate(
            network,
            dataset,
            outputs=outputs,
            progress=progress,
            keep=keep,
        )
        total, count = total + np.concatenate(rows), count + 1
    if not count:
        raise ValueError("There are no networks to average.")
    places = np.arange(len(labels))
    known: Any = _Known(total / count)
    return evaluate.evaluate(known, [(places, labels)], outputs=outputs)


class _Known:
    """A network that knows its answer to each image by its place."""

    def __init__(self, scores):
        self._scores = scores

    def predict_on_batch(self, places: np.ndarray) -> np.ndarray:
        return self._scores[places]
