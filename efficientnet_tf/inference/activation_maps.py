"""Class activation maps of a Keras network, with and without gradients."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np

from efficientnet_tf.utils import configs, targets

# Names of the outputs of `with_activation_map`, and of its layer.
PROBABILITIES, ACTIVATION_MAP = targets.PROBABILITIES, "activation_map"

# What may follow the classifier's dense layer.
_ACTIVATIONS = (keras.layers.Activation, keras.layers.Softmax)
# What may stand before it, because it changes no feature in inference.
_NEUTRAL = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Flatten,  # Of pooled features [N, 1, 1, C].
    keras.layers.Identity,
)

# Tracing a graph takes as long as so many batches without one: whoever has only
# a few images is answered at once.
_EAGER_CALLS = 4

# Maps probabilities [N, classes] to the classes int [N, K] to make maps of.
Choose = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class PooledHead:
    """The end of a network: average pooling and one dense layer.

    `features` is the tensor [N, h, w, C] that is pooled.
    """

    features: keras.KerasTensor
    dense: keras.layers.Dense


def find_head(network: keras.Model) -> PooledHead:
    """Returns the head of a network that has exact class activation maps.

    Raises:
      ValueError: it has another one, or is no Keras network; says what to do.
    """
    _check_network(network)
    last, inputs = _step_back(network.outputs[0], _ACTIVATIONS)
    if not isinstance(last, keras.layers.Dense):
        _refuse(network, f"it ends in {_describe(last)}")
    pooling, inputs = _step_back(inputs[0], _NEUTRAL)
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D):
        _refuse(network, f"its dense layer follows {_describe(pooling)}")
    if pooling.data_format != "channels_last":
        _refuse(network, "it pools channels_first")
    return PooledHead(inputs[0], last)


def with_activation_map(network: keras.Model) -> keras.Model:
    """Returns a network with the maps of all classes as a second output.

    They are a convolution of the last features by the dense layer's kernel,
    https://arxiv.org/abs/1512.04150: no gradients, and nothing that a runtime
    of exported networks lacks. The other layers and weights are shared.

    Args:
      network: a functional one that ends in average pooling and one dense
        layer.

    Returns:
      A network whose output is a dictionary: "probabilities", those of
      `network`, [N, classes]; "activation_map", float32 [N, h, w, classes]
      at the resolution of the last features. The mean of a class's map over
      its places, plus the dense layer's bias, is its logit. Exported files have
      the outputs by these names, sorted, so that the map is the first.

    Raises:
      ValueError: the network has another head.
    """
    head = find_head(network)
    if any(layer.name == ACTIVATION_MAP for layer in network.layers):
        raise ValueError(f"{network.name} already has {ACTIVATION_MAP}.")
    convolution = keras.layers.Conv2D(
        head.dense.units,
        1,
        use_bias=False,
        dtype=head.dense.dtype_policy,
        name=ACTIVATION_MAP,
    )
    maps = convolution(head.features)
    convolution.set_weights([_read_kernel(head.dense)[None, None]])
    return keras.Model(
        network.inputs[0],
        {PROBABILITIES: network.outputs[0], ACTIVATION_MAP: maps},
        name=network.name,
    )


class ExactMaps:
    """Class activation maps of pooling and one dense layer, for many batches.

    Called with images [N, H, W, 3] and a `Choose`, it returns maps float32
    [N, K, h, w], classes int [N, K] and probabilities [N, classes].

    Raises:
      ValueError: the network has another head.
    """

    def __init__(self, network: keras.Model):
        head = find_head(network)
        self._compute = _make_compute(head.features, network)
        self._kernel = _read_kernel(head.dense)

    def __call__(
        self, images: np.ndarray, choose: Choose
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        features, probabilities = self._compute(images)
        classes = choose(probabilities)
        # Not the convolution: of many classes a few are wanted.
        count, height, width, channels = features.shape
        places = features.reshape(count, height * width, channels)
        maps = self._kernel.T[classes] @ places.transpose(0, 2, 1)
        maps = maps.reshape(count, -1, height, width)
        return maps, classes, probabilities


class GradientMaps:
    """Grad-CAM of a layer, https://arxiv.org/abs/1610.02391.

    Called like `ExactMaps`; its maps are the sum of the layer's channels, each
    by the mean over places of the logit's gradient, where that is positive.

    Args:
      network: a functional network.
      layer: a layer with an output [N, h, w, C]; None: the last one.

    Raises:
      ValueError: no such layer, or an end without logits.
    """

    def __init__(self, network: keras.Model, layer: str | None = None):
        _check_network(network)
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "Grad-CAM needs Keras's TensorFlow backend, not "
                f"{keras.backend.backend()}."
            )
        self.layer, features = _find_features(network, layer)
        before, self._to_logits = _find_logits(network)
        self._compute = _make_compute(features, network)
        self._network = keras.Model(network.inputs[0], [features, before])
        self._differentiate = self._make_function()

    def __call__(
        self, images: np.ndarray, choose: Choose
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        _, probabilities = self._compute(images)
        classes = choose(probabilities)
        maps = [self._differentiate(images, column) for column in classes.T]
        return np.stack(maps, axis=1), classes, probabilities

    def _make_function(self):
        import tensorflow as tf

        @tf.function(
            input_signature=(
                tf.TensorSpec(self._network.inputs[0].shape, "float32"),
                tf.TensorSpec((None,), "int64"),
            ),
            autograph=False,  # It would wrap the error below in its own.
        )
        def differentiate(images, classes):
            with tf.GradientTape() as tape:
                tape.watch(images)  # Variables may all be frozen.
                features, before = self._network(images, training=False)
                logits = self._to_logits(before)
                score = tf.gather(logits, classes, axis=1, batch_dims=1)
            gradient = tape.gradient(score, features)
            if gradient is None:
                raise ValueError(
                    f"The layer {self.layer!r} does not lead to the classes."
                )
            gradient, features = (
                tf.cast(part, "float32") for part in (gradient, features)
            )
            weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
            return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))

        return lambda *arguments: differentiate(*arguments).numpy()


def list_layers(network: keras.Model) -> list[str]:
    """Returns the names of layers that have a map, [N, h, w, C], in order."""
    return [layer.name for layer in network.layers if _has_map(layer)]


def _make_compute(features, network):
    """Returns a function from images to arrays: features, finite outputs."""
    both = keras.Model(network.inputs[0], [features, network.outputs[0]])
    calls = itertools.count()

    def compute(images):
        if next(calls) < _EAGER_CALLS:
            outputs = both(images, training=False)
        else:
            outputs = both.predict_on_batch(images)
        outputs = [
            keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
            for output in outputs
        ]
        if not np.isfinite(outputs[-1]).all():
            raise FloatingPointError("The model's outputs are not finite.")
        return outputs

    return compute


def _read_kernel(dense):
    return keras.ops.convert_to_numpy(dense.kernel).astype("float32")


def _check_network(network):
    if not isinstance(network, keras.Model) or not getattr(
        network, "outputs", None
    ):
        raise ValueError(
            "Activation maps need a functional Keras network, which an "
            "exported file or another model is not; take a run or a .keras "
            "file, or export the network with its map as a second output."
        )
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            f"{network.name} has {len(network.inputs)} inputs and "
            f"{len(network.outputs)} outputs; activation maps need one each."
        )


def _step_back(tensor, skipped=()):
    """Returns (operation, input tensors) that a Keras tensor comes from."""
    while True:
        operation, index, _ = tensor._keras_history
        inputs = operation._inbound_nodes[index].input_tensors
        if not isinstance(operation, skipped):
            return operation, inputs
        (tensor,) = inputs


def _describe(operation):
    return f"{operation.name} ({type(operation).__name__})"


def _refuse(network, reason) -> NoReturn:
    last = list_layers(network)[-1:]
    otherwise = "no layer of it has a map for Grad-CAM either"
    if last:
        otherwise = f"Grad-CAM works: name a layer, such as {last[0]!r}"
    raise ValueError(
        f"{network.name} has no exact activation map, which needs average "
        f"pooling and one dense layer at its end: {reason}; {otherwise}."
    )


def _has_map(layer):
    """Whether a layer's output is a map of more than one place."""
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):  # None, or more than one output.
        return False
    return len(shape) == 4 and shape[1:3] != (1, 1) and not _is_input(layer)


def _is_input(layer):
    return isinstance(layer, keras.layers.InputLayer)


def _find_features(network, name):
    """Returns (name, output) of a layer, by default of the last with a map."""
    names = list_layers(network)
    if not names:
        raise ValueError(
            f"{network.name} has no layer with a map [N, h, w, C]."
        )
    if name is None:
        name = names[-1]
    if name not in names:
        known = [layer.name for layer in network.layers]
        problem = f"{network.name} has no layer {name!r}"
        if name in known:
            problem = f"The layer {name!r} has no map [N, h, w, C]"
        raise ValueError(
            f"{problem}; {len(names)} layers have one, from {names[0]!r} to "
            f"{names[-1]!r}.{configs.suggest(name, names)}"
        )
    return name, network.get_layer(name).output


def _find_logits(network) -> tuple[keras.KerasTensor, Callable[[Any], Any]]:
    """Returns a tensor, and a function from its value to the logits.

    Not the probabilities: where they are near 1, their gradient is near 0.
    """
    tensor = network.outputs[0]
    last, inputs = _step_back(tensor)
    while isinstance(last, _ACTIVATIONS):
        tensor = inputs[0]
        last, inputs = _step_back(tensor)
    activation = getattr(last, "activation", keras.activations.linear)
    if activation is keras.activations.linear and not isinstance(
        last, keras.Model
    ):
        return tensor, lambda value: value
    if not isinstance(last, keras.layers.Dense):
        raise ValueError(
            f"{network.name} ends in {_describe(last)}, before whose "
            "activation no logits can be read; end it in a dense layer."
        )

    def to_logits(value):
        logits = keras.ops.matmul(value, last.kernel)
        return logits if last.bias is None else logits + last.bias

    return inputs[0], to_logits
