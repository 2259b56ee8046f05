"""What a network costs: parameters and multiply-adds, layer by layer."""

import dataclasses
import math

import keras

from efficientnet_tf import model as model_lib


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One layer's trainable and other parameters, and multiply-adds."""

    name: str
    params: int
    statistics: int
    multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """A network's cost for one image; sums of its layers' rows."""

    layers: tuple[LayerCost, ...]

    @property
    def params(self):
        return sum(layer.params for layer in self.layers)

    @property
    def statistics(self):
        return sum(layer.statistics for layer in self.layers)

    @property
    def multiply_adds(self):
        return sum(layer.multiply_adds for layer in self.layers)


def profile(model, resolution=None):
    """Counts a network's parameters and multiply-adds.

    A multiply-add counts once. Convolutions and dense layers count, squeeze-
    and-excitation and the head among them; element-wise layers do not.

    Args:
      model: a name of the family, a `variants.Variant`, or a `keras.Model`
        whose layers have static shapes.
      resolution: pixels a side for a name; by default the variant's own.

    Returns:
      A `Profile`.
    """
    if not isinstance(model, keras.Model):
        shape = None if resolution is None else (resolution, resolution, 3)
        model = model_lib.build(model, input_shape=shape)
    elif resolution is not None:
        raise ValueError(
            f"resolution={resolution!r} is for a name; a keras.Model has its "
            "own input shape."
        )
    return Profile(tuple(_cost(layer) for layer in model.layers))


def _cost(layer):
    def count(variables):
        return sum(math.prod(v.shape) for v in variables)

    return LayerCost(
        name=layer.name,
        params=count(layer.trainable_weights),
        statistics=count(layer.non_trainable_weights),
        multiply_adds=_multiply_adds(layer),
    )


def _multiply_adds(layer):
    kinds = keras.layers
    if not isinstance(
        layer, kinds.Conv2D | kinds.DepthwiseConv2D | kinds.Dense
    ):
        return 0
    kernel = math.prod(layer.kernel.shape)
    shape = layer.output.shape[1:-1]
    if None in shape:
        raise ValueError(
            f"Layer {layer.name!r} has the unknown output shape "
            f"{layer.output.shape}; build the model with a fixed input_shape."
        )
    return kernel * math.prod(shape)
