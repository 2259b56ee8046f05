"""A network with its class names and image preparation, for image files."""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from efficientnet_tf.data import imagenet, shapes
from efficientnet_tf.inference import (
    network_shapes,
    settings as settings_lib,
    unknown as unknown_lib,
)
from efficientnet_tf.models import registry
from efficientnet_tf.utils import files, run_folder, targets
from efficientnet_tf.weights import catalog

if typing.TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from efficientnet_tf.inference import pooled

# Keras and TensorFlow take seconds to load, and a classifier of another runtime
# does without: see `deploy.network`.

_SETTINGS = run_folder.SETTINGS_FILE
# Images in memory at a time are at most two batches: one that the network
# computes on and one that is read meanwhile.
BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, its class names, and the settings of image preparation.

    `model` is a network of Keras, or of another runtime one with
    `predict_on_batch`.
    """

    model: "keras.Model"
    class_names: tuple[str, ...]
    resolution: int
    interpolation: str
    crop_padding: int | None = shapes.CROP_PADDING
    deep_pixels: str = "used"  # One of `policies.DEEP_PIXELS`.
    # By which the head's weights have been divided, so that probabilities mean
    # what they say; nothing is left to do with it.
    temperature: float = 1.0
    target: str = targets.CLASS  # See `settings`.
    thresholds: tuple[float, ...] = ()
    resize: str = shapes.CROP
    width: int | None = None
    # What tells images of none of the classes; None: nothing does.
    unknown: unknown_lib.Detector | None = None

    def __post_init__(self):
        settings_lib.settle(self)

    @property
    def settings(self) -> settings_lib.Settings:
        """All but the model."""
        return settings_lib.Settings(**settings_lib.pick_settings(self))

    @property
    def outputs(self) -> targets.Outputs:
        """What the network answers with."""
        return targets.Outputs(self.class_names, self.target, self.thresholds)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input, in pixels."""
        return self.preparation.size

    @property
    def preparation(self) -> shapes.Preparation:
        """What is done to an image before the network gets it."""
        return settings_lib.get_preparation(self)

    def preprocess(self, image: "tf.Tensor") -> "tf.Tensor":
        """Maps encoded bytes or [H, W, 3] to float32 [height, width, 3]."""
        from efficientnet_tf.data import preprocessing

        return preprocessing.prepare(image, self.preparation)

    def predict(self, paths: Iterable[str | os.PathLike]) -> np.ndarray:
        """Returns probabilities, or numbers, [N, classes] for image files.

        Raises:
          OSError: a file is not a readable image.
          ValueError: there are no files.
        """
        return np.stack(_list_rows(self.predict_each(paths)))

    def score_unknown(self, paths: Iterable[str | os.PathLike]) -> np.ndarray:
        """Returns how foreign image files are, [N]; see `unknown.Detector`.

        Those above `self.unknown.threshold` are of none of the classes.

        Raises:
          OSError: a file is not a readable image.
          ValueError: there are no files, or nothing to score them by.
        """
        if self.unknown is None:
            raise ValueError(f"The classifier {unknown_lib.MISSING}.")
        rows = _list_rows(self.embed_each(paths))
        return self.unknown.score(np.stack([row.features for row in rows]))

    def predict_each(
        self, paths: Iterable[str | os.PathLike], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[str | os.PathLike, np.ndarray | OSError]]:
        """Yields (path, probabilities [classes]) of files, in their order.

        In place of the probabilities of a file that is not a readable image
        stands the error. Memory is bounded by the size of a batch.
        """
        return self._compute_each(
            paths,
            lambda images: np.asarray(self.model.predict_on_batch(images)),
            batch_size,
        )

    def embed_each(
        self, paths: Iterable[str | os.PathLike], batch_size: int = BATCH_SIZE
    ) -> Iterator[tuple[str | os.PathLike, "pooled.Output | OSError"]]:
        """Does `predict_each`, with `pooled.Output` for the probabilities.

        Raises:
          ValueError: see `pooled.find`.
        """
        from efficientnet_tf.inference import pooled

        compute = pooled.Pooled(self.model)
        return self._compute_each(
            paths,
            lambda images: itertools.starmap(
                pooled.Output, zip(*compute(images), strict=True)
            ),
            batch_size,
        )

    def _compute_each(
        self, paths: Iterable, compute: Callable, batch_size: int
    ) -> Iterator:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting: list = []
            for batch in batched(paths, batch_size):
                waiting.append(
                    (batch, [pool.submit(self._read, p) for p in batch])
                )
                if len(waiting) > 1:
                    yield from _compute_batch(compute, *waiting.pop(0))
            for batch, read in waiting:
                yield from _compute_batch(compute, batch, read)

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """Returns an image file as the network takes it, [size, size, 3].

        Raises:
          OSError: names the file, its format and why it cannot be read.
        """
        return self.decode(files.read_bytes(path), path)

    def decode(self, data: bytes, path: str | os.PathLike) -> np.ndarray:
        """Does what `read` does, with the content of the file `path`."""
        from efficientnet_tf.data.images import decoding

        pixels = decoding.decode_file(data, path, self.deep_pixels)
        return self.preprocess(pixels).numpy()

    def make_decoder(self) -> Callable[[bytes, str | os.PathLike], np.ndarray]:
        """Returns `decode`, faster for many images after a slow first one."""
        import tensorflow as tf

        from efficientnet_tf.data.images import pillow_files

        # One graph, because op by op it takes seven times as long as to decode
        # a small JPEG.
        prepare = tf.function(
            self.preprocess,
            input_signature=[tf.TensorSpec((), tf.string)],
            autograph=False,
        )

        def decode(data, path):
            pillow_files.check_file(data, path)
            try:
                return prepare(data).numpy()
            except (tf.errors.OpError, ValueError):
                # Once more, for the reason in words that a user understands.
                return self.decode(data, path)

        return decode

    def _read(self, path):
        try:
            return self.read(path)
        except OSError as error:
            return error

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the model, its settings and its detector to a folder."""
        directory = pathlib.Path(directory)
        path = directory / unknown_lib.UNKNOWN_FILE
        path.unlink(missing_ok=True)  # It may be of another network.
        with files.atomic(directory / run_folder.MODEL_FILE) as temporary:
            self.model.save(temporary)
        if self.unknown is not None:
            unknown_lib.write(path, self.unknown)
        settings = dataclasses.asdict(self.settings)
        files.write_json(directory / _SETTINGS, settings)


def from_weights(
    model: registry.Model,
    weights: str | os.PathLike | None,
    resolution: int | None = None,
    *,
    deep_pixels: str | None = None,
    **reading: Any,
) -> Classifier:
    """Returns a `Classifier` over ImageNet's classes.

    A file beside which a run, or a repository on the hub, has its settings
    gets the classes and the image preparation of these.

    Args:
      model: a name, a variant file or a `Variant`.
      weights: a name or a file, see `loading.resolve`; None: random ones.
      resolution: pixels a side; by default those of the settings, or the
        variant's own.
      deep_pixels: an item of `policies.DEEP_PIXELS`; by default that of the
        settings, or "used".
      reading: `normalization` and `source_family`, see `loading.build`.

    Raises:
      ValueError: the weights have other classes, and nothing names them.
    """
    import keras

    weights = catalog.parse(weights)
    variant = registry.get_variant(model)
    settings = {
        "class_names": imagenet.class_names(),
        "resolution": variant.resolution,
        "interpolation": variant.interpolation,
        "crop_padding": shapes.CROPS[variant.eval_crop],
        **_read_settings_beside(model, weights),
    }
    chosen = {"resolution": resolution, "deep_pixels": deep_pixels}
    settings |= {k: v for k, v in chosen.items() if v is not None}
    if resolution is not None:
        settings["width"] = None
    network = _load_network(
        model,
        weights,
        (settings["resolution"], settings.get("width")),
        classes=len(settings["class_names"]),
        **reading,
    )
    target = settings.get("target", targets.CLASS)
    head = network.layers[-1]
    if target != targets.CLASS:
        head.activation = keras.activations.get(targets.ACTIVATIONS[target])
    return Classifier(network, **settings)


def _read_settings_beside(model, weights):
    """Returns the settings in the folder of a file with weights, if any."""
    if weights is None or weights in catalog.names(model):
        return {}
    from efficientnet_tf.weights import loading

    path = pathlib.Path(loading.locate(weights)).with_name(_SETTINGS)
    return vars(settings_lib.read_settings(path)) if path.exists() else {}


def load_imagenet_network(
    model: registry.Model,
    weights: str | os.PathLike | None,
    size: int | None,
) -> "keras.Model":
    """Returns a network whose outputs are ImageNet's classes.

    Args:
      model: a name, a variant file or a `Variant`.
      weights: a name or a file, see `loading.resolve`; None: random ones.
      size: pixels a side; None: any.

    Raises:
      ValueError: the weights are of another head than ImageNet's.
    """
    return _load_network(
        model, weights, (size, size), classes=len(imagenet.class_names())
    )


def _load_network(model, weights, size, *, classes, **reading):
    height, width = size
    if weights is None:
        logging.warning("Random weights: the predictions mean nothing.")
    from efficientnet_tf.weights import loading

    return loading.build(
        model,
        weights=weights,
        input_shape=(height, width or height, 3),
        classes=classes,
        random_head=weights is None,
        **reading,
    )


def from_run(workdir: str | os.PathLike) -> Classifier:
    """Returns the `Classifier` that a fine-tuning run saved.

    Raises:
      FileNotFoundError: the run does not exist or has not finished.
      IsADirectoryError: it is a cross-validation of several.
      ValueError: a file of it is damaged, or asks for what a run never does.
    """
    from efficientnet_tf.weights import former_names

    workdir = pathlib.Path(workdir)
    run_folder.check_one_network(workdir)
    for name in (run_folder.MODEL_FILE, _SETTINGS):
        if not (workdir / name).exists():
            raise FileNotFoundError(
                f"{workdir} holds no finished run: {name} is missing."
            )
    settings = vars(settings_lib.read_settings(workdir / _SETTINGS))
    path = workdir / run_folder.MODEL_FILE
    network = former_names.load_network(path)
    network_shapes.check(path, network, settings)
    found = _read_detector(workdir, network)
    return Classifier(network, **settings, unknown=found)


def _read_detector(workdir, network):
    """Returns a run's detector of unknown images; None: it has none."""
    path = workdir / unknown_lib.UNKNOWN_FILE
    if not path.exists():
        return None
    from efficientnet_tf.inference import pooled

    features = pooled.find(network).shape[-1]
    return unknown_lib.read(path, features, network.output_shape[-1])


def _compute_batch(compute, paths, futures):
    """Yields (path, row of `compute`, or why there is none) of a batch."""
    read = [future.result() for future in futures]
    images = [image for image in read if not isinstance(image, OSError)]
    rows = iter(compute(np.stack(images)) if images else ())
    for path, image in zip(paths, read, strict=True):
        yield path, image if isinstance(image, OSError) else next(rows)


def _list_rows(found):
    """Returns what (path, row) have; raises an error that stands for one."""
    rows = []
    for _, row in found:
        if isinstance(row, OSError):
            raise row
        rows.append(row)
    if not rows:
        raise ValueError("There are no files to predict.")
    return rows


def batched(items: Iterable, size: int) -> Iterator[Sequence]:
    """Yields lists of up to `size` items."""
    iterator = iter(items)  # `itertools.batched` came with Python 3.12.
    while batch := list(itertools.islice(iterator, size)):
        yield batch
