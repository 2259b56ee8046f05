"""From a trained network to the same one with fake quantization."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from efficientnet_tf.models import fake_quantization, graphs, layers

# Pixels, if the network itself normalizes them. Not to 255, with steps of 1: of
# resized images many values are halfway between two of these, and of such ones
# some runtimes take the lower, others the upper.
PIXELS = (0.0, 255.3)
UNIT_RANGE = fake_quantization.UNIT_RANGE
# Of a range of activations that are all 0.
_LEAST_RANGE = 1e-4

Ranges = Mapping[str, tuple[float, float]]

_OF_STEP = {
    keras.layers.Conv2D: fake_quantization.QuantizedConv2D,
    keras.layers.DepthwiseConv2D: fake_quantization.QuantizedDepthwiseConv2D,
    keras.layers.Dense: fake_quantization.QuantizedDense,
    keras.layers.Rescaling: fake_quantization.QuantizedRescaling,
}
# These give values that need a new range.
_COMPUTING = (
    *_OF_STEP,
    keras.layers.Add,
    keras.layers.Multiply,
    keras.layers.GlobalAveragePooling2D,
)
# These give some of the values that they get, and zeros.
_MOVING = (
    keras.layers.Concatenate,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.Reshape,
    keras.layers.ZeroPadding2D,
)
# LiteRT computes these together with the layer before them.
_FUSED = ("relu", "relu6")
_ACTIVATIONS = (*_FUSED, "silu", "sigmoid", "softmax")


def check(network: keras.Model) -> None:
    """Checks that `quantize` takes a network.

    Raises:
      ValueError: names the layers that have no int8, or says that the network
        is quantized already.
    """
    if is_quantized(network):
        raise ValueError("The network has fake quantization already.")
    allowed = (
        *_COMPUTING,
        *_MOVING,
        keras.layers.BatchNormalization,
        keras.layers.Dropout,
        keras.layers.InputLayer,
    )
    foreign = []
    for layer in network.layers:
        activation = getattr(layer, "activation", None)
        if isinstance(layer, keras.layers.Activation) or (
            isinstance(layer, allowed) and activation is not None
        ):
            name = name_activation(activation)
            if name not in ("linear", *_ACTIVATIONS):
                foreign.append(f"{layer.name} ({name})")
        elif not isinstance(layer, allowed):
            foreign.append(f"{layer.name} ({type(layer).__name__})")
    if foreign:
        shown = ", ".join(foreign[:3])
        more = f" and {len(foreign) - 3} more" if foreign[3:] else ""
        raise ValueError(
            f"These layers cannot be quantized: {shown}{more}. Activations "
            f"may be {', '.join(_ACTIVATIONS)}."
        )


def is_quantized(network: keras.Model) -> bool:
    """Whether a network has fake quantization."""
    return any(
        isinstance(layer, fake_quantization.FakeQuant)
        for layer in getattr(network, "layers", ())
    )


def calibrate(
    folded: keras.Model, batches: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Returns the range of each value that int8 needs one for.

    It is the mean over images of each one's smallest and largest value.

    Args:
      folded: the network of `folding.fold`.
      batches: images [N, H, W, 3], without augmentation.

    Returns:
      {name of a layer of `folded`: (low, high)} of its outputs.

    Raises:
      ValueError: there are no images.
    """
    ops, ends = keras.ops, {}
    places = _list_places(folded)
    for layer in folded.layers:
        if layer.name in places:
            axes = tuple(range(1, len(layer.output.shape)))
            ends[layer.name] = ops.stack(
                [ops.min(layer.output, axes), ops.max(layer.output, axes)], -1
            )
    probe = keras.Model(folded.inputs[0], ends)
    found: dict[str, list] = {name: [] for name in ends}
    for images in batches:
        for name, values in probe.predict_on_batch(images).items():
            found[name].append(np.asarray(values))
    if not any(found.values()):
        raise ValueError("There are no images to calibrate with.")
    ranges = {}
    for name, values in found.items():
        low, high = np.concatenate(values).mean(0, dtype="float64")
        ranges[name] = (float(low), float(high))
    return ranges


def quantize(folded: keras.Model, ranges: Ranges) -> keras.Model:
    """Returns a network that computes as LiteRT does in int8.

    Args:
      folded: the network of `folding.fold`; it is left as it is.
      ranges: those of `calibrate`.

    Returns:
      A network with the same names of layers, after which those of ranges
      stand, such as "stem_activation_range".

    Raises:
      ValueError: see `check`; or a range is missing.
    """
    check(folded)
    builder = _Builder(folded, ranges)
    return graphs.rebuild(folded, builder.apply)


def name_activation(activation: object) -> str:
    """Returns an activation's name; ours and Keras's "silu" are one."""
    if activation is layers.silu:
        return "silu"
    return getattr(activation, "__name__", str(activation))


def _list_places(folded):
    """Returns the names of the layers whose outputs' ranges are measured."""
    consumers = graphs.find_consumers(folded)
    places = set()
    for layer in folded.layers:
        after = consumers[layer.name]
        kinds = tuple(_name_activation_of(x) for x in after)
        if isinstance(layer, keras.layers.InputLayer):
            measured = not _is_normalized(after)
        elif isinstance(layer, keras.layers.Activation):
            measured = _name_activation_of(layer) in (*_FUSED, "silu")
        else:
            fused = len(kinds) == 1 and kinds[0] in _FUSED
            measured = isinstance(layer, _COMPUTING) and not fused
        if measured:
            places.add(layer.name)
    return places


def _is_normalized(after):
    """Whether what takes the images normalizes them."""
    return all(isinstance(x, keras.layers.Rescaling) for x in after)


def _name_activation_of(layer):
    if isinstance(layer, keras.layers.Activation):
        return name_activation(layer.activation)
    return None


class _Builder:
    """Makes the layers; remembers the step of each rounded tensor."""

    def __init__(self, folded, ranges):
        self._ranges = dict(ranges)
        self._places = _list_places(folded)
        missing = sorted(self._places - self._ranges.keys())
        if missing:
            raise ValueError(f"There is no range of {missing[0]}.")
        self._steps = {}

    def apply(self, layer, inputs):
        if isinstance(layer, keras.layers.InputLayer):
            made = keras.Input(batch_shape=layer.batch_shape, name=layer.name)
            return self._round(made, layer.name, PIXELS)
        if isinstance(layer, keras.layers.Activation):
            return self._activate(layer, inputs)
        if type(layer) in _OF_STEP:
            made = self._apply_weights(layer, inputs)
        else:
            made = graphs.copy(layer)(inputs)
        if isinstance(layer, _MOVING):
            first = keras.tree.flatten(inputs)[0]
            self._steps[id(made)] = self._steps[id(first)]
        return self._round(made, layer.name)

    def _apply_weights(self, layer, inputs):
        config = layer.get_config()
        config["input_step"] = self._steps[id(inputs)]
        new = _OF_STEP[type(layer)].from_config(config)
        outputs = new(inputs)
        new.set_weights(layer.get_weights())
        return outputs

    def _activate(self, layer, inputs):
        kind = name_activation(layer.activation)
        if kind == "silu":
            gate = f"{layer.name}_gate"
            gates = keras.layers.Activation("sigmoid", name=gate)(inputs)
            gates = self._round(gates, gate, UNIT_RANGE)
            outputs = keras.layers.Multiply(name=layer.name)([inputs, gates])
            return self._round(outputs, layer.name)
        outputs = graphs.copy(layer)(inputs)
        if kind == "softmax":
            name = _name_range(layer.name)
            return fake_quantization.FakeQuantProbabilities(name=name)(outputs)
        return self._round(outputs, layer.name, UNIT_RANGE)

    def _round(self, tensor, name, fixed=None):
        """Rounds to the range measured at a place, else to a fixed one."""
        found = self._ranges[name] if name in self._places else fixed
        if found is None:
            return tensor
        low, high = min(found[0], 0.0), max(found[1], 0.0)
        high = max(high, low + _LEAST_RANGE)
        rounded = fake_quantization.FakeQuant(low, high, name=_name_range(name))
        outputs = rounded(tensor)
        self._steps[id(outputs)] = fake_quantization.find_step(low, high)
        return outputs


def _name_range(place):
    return f"{place}_range"
