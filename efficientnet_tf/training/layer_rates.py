"""Learning rates by depth: less for early stages, later for early stages."""

from collections.abc import Mapping
from typing import Any

import keras

from efficientnet_tf.models import features


class DepthRates:
    """The factor of each variable's learning rate, by its stage and the step.

    The classifier has the whole rate; each stage below has `decay` times that
    of the one above. With gradual unfreezing (Howard and Ruder, 2018,
    https://arxiv.org/abs/1801.06146, §3.3) a stage's rate is 0 until those
    above it have trained for their part of `unfreeze_steps`.

    Args:
      network: of `builder.build`.
      decay: in (0, 1]; 1: all stages alike.
      unfreeze_steps: until all stages train; 0: all do from the beginning.
    """

    def __init__(
        self, network: keras.Model, *, decay: float, unfreeze_steps: int = 0
    ):
        stages = features.list_stages(network)
        last = max(stages.values())
        self._depths: Mapping[str, int] = {
            variable.path: last - stages[layer.name]
            for layer in network.layers
            for variable in layer.trainable_weights
        }
        self._decay = decay
        self._begin = {
            path: unfreeze_steps * depth / last
            for path, depth in self._depths.items()
        }

    def factor(self, variable: keras.Variable, step: Any) -> Any:
        """Returns what the learning rate is multiplied by."""
        factor = self._decay ** self._depths[variable.path]
        begin = self._begin[variable.path]
        if not begin:
            return factor
        reached = keras.ops.cast(step, "float32") >= begin
        return factor * keras.ops.cast(reached, "float32")


def scale_rates(
    optimizer: keras.optimizers.Optimizer, rates: DepthRates
) -> None:
    """Gives each variable of an optimizer its own learning rate.

    A decoupled weight decay is multiplied by it, too. To be called before the
    optimizer is built.
    """
    update, decays = optimizer.update_step, optimizer._use_weight_decay
    weight_decay, optimizer.weight_decay = optimizer.weight_decay, None

    def update_step(gradient, variable, learning_rate):
        # The variable is TensorFlow's, which has no path.
        place = optimizer._get_variable_index(variable)
        known = optimizer._trainable_variables[place]
        learning_rate = learning_rate * rates.factor(
            known, optimizer.iterations
        )
        if weight_decay and decays(known):
            shrink = 1 - weight_decay * learning_rate
            optimizer.assign(
                variable, variable * keras.ops.cast(shrink, variable.dtype)
            )
        update(gradient, variable, learning_rate)

    optimizer.update_step = update_step
