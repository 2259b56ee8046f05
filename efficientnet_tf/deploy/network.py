"""A network that another runtime than Keras runs, checked before use."""

import abc
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from efficientnet_tf.data import numpy_preprocessing
from efficientnet_tf.deploy import metadata
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import image_sizes, untrusted


@dataclasses.dataclass(frozen=True)
class End:
    """An input or output of a file: name, NumPy's name of the type, sides.

    None in `shape` is a side of any length.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self):
        sides = ["N" if side is None else str(side) for side in self.shape]
        return f"{self.name!r} {self.dtype} [{', '.join(sides)}]"


@dataclasses.dataclass(frozen=True)
class FileClassifier(classifier_lib.Classifier):
    """A classifier that reads images without TensorFlow, which loads slowly."""

    def decode(self, data: bytes, path: str | os.PathLike) -> np.ndarray:
        pixels = numpy_preprocessing.decode_file(data, path, self.deep_pixels)
        return numpy_preprocessing.prepare(pixels, self.preparation)

    def make_decoder(self) -> Callable[[bytes, str | os.PathLike], np.ndarray]:
        return self.decode


class Network(abc.ABC):
    """A file as a network, from images [N, H, W, 3] to probabilities.

    Args:
      path: the file.
      inputs: the file's; there must be one.
      outputs: the file's; one of them must be probabilities [N, classes].
      text: the metadata that our exports have, or None.

    Raises:
      untrusted.DamagedError: it maps other things, or other things than its
        metadata say.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        inputs: Sequence[End],
        outputs: Sequence[End],
        text: str | bytes | None,
    ):
        self.metadata = None if text is None else metadata.parse(text, path)
        self.size, self.batch_size = _check_images(path, inputs)
        self.output = _find_probabilities(path, outputs)
        self._path = os.fspath(path)
        if self.metadata is not None:
            self._check_metadata(outputs[self.output].shape[1])

    @abc.abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """Returns the probabilities of as many images as the file takes."""

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities [N, classes] of images [N, H, W, 3]."""
        images = np.asarray(images, np.float32)
        with untrusted.reading(self._path, "not runnable"):
            if self.batch_size is None:
                return self.run(images)
            return self._run_parts(images)

    def _check_metadata(self, classes):
        named = len(self.metadata.class_names)
        if classes != named:
            raise untrusted.DamagedError(
                f"{self._path} gives {classes} probabilities, but names "
                f"{named} classes."
            )
        if self.size != self.metadata.size:
            taken, said = (
                image_sizes.show(size)
                for size in (self.size, self.metadata.size)
            )
            raise untrusted.DamagedError(
                f"{self._path} takes images of {taken} pixels, but says {said}."
            )

    def _run_parts(self, images):
        """Runs a file of a fixed batch size; the last part is filled up."""
        parts = [self.run(part) for part in split(images, self.batch_size)]
        return np.concatenate(parts)[: len(images)]


def split(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields images [N, ...], `size` at a time, the last ones filled up."""
    for begin in range(0, len(images), size):
        part = images[begin : begin + size]
        missing = size - len(part)
        yield np.concatenate([part, part[:1].repeat(missing, 0)])


def to_classifier(found: Network) -> classifier_lib.Classifier | None:
    """Returns a file's classifier, or None if it does not name classes."""
    if found.metadata is None:
        return None
    kind: type[classifier_lib.Classifier] = FileClassifier
    if not numpy_preprocessing.can_prepare(found.metadata.interpolation):
        kind = classifier_lib.Classifier  # By TensorFlow.
    return kind(found, **found.metadata.settings)


def _check_images(path, inputs):
    """Returns ((height, width), batch size or None) of the only input."""
    shape = inputs[0].shape if len(inputs) == 1 else ()
    if (
        len(shape) != 4
        or inputs[0].dtype != "float32"
        or shape[3] != 3
        or None in shape[1:3]
        or shape[0] == 0
    ):
        raise untrusted.DamagedError(
            f"{os.fspath(path)} takes {_list(inputs)}; it must take images "
            "alone, float32 [N, height, width, 3]."
        )
    return shape[1:3], shape[0]


def _find_probabilities(path, outputs):
    """Returns the place of the probabilities among the outputs."""
    found = [
        place
        for place, end in enumerate(outputs)
        if len(end.shape) == 2 and end.shape[1] and end.dtype == "float32"
    ]
    named = [
        place
        for place in found
        if outputs[place].name in (metadata.PROBABILITIES, metadata.NUMBERS)
    ]
    if len(named or found) != 1:
        raise untrusted.DamagedError(
            f"{os.fspath(path)} gives {_list(outputs)}; it must give "
            "probabilities float32 [N, classes]."
        )
    return (named or found)[0]


def _list(ends):
    return untrusted.shorten(", ".join(map(str, ends)) or "nothing")
