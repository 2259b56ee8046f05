"""How a supernet trains: the sandwich rule with in-place distillation."""

import dataclasses
from typing import Any

import keras

from efficientnet_tf.search.architect import spaces
from efficientnet_tf.search.architect.supernet import elastic
from efficientnet_tf.training import losses, trainer

# Random children of each step, besides the smallest; section 3.1 of
# https://arxiv.org/abs/2003.11142.
RANDOM = 2


class Trainer(trainer.Trainer):
    """Trains the largest network of a space together with its children.

    In each step the largest one learns from the labels, and the smallest and
    random ones from its predictions; the gradients are summed. Its metrics are
    those of the largest one, and `distillation`, the children's.

    Args:
      inputs: the largest network's.
      outputs: the largest network's.
      space: whose networks it trains.
      seed: of the random children, which depend on it and the step, so that a
        resumed run has the same, and every replica.
      **options: those of `trainer.Trainer`, but for a teacher.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        space: spaces.Space,
        seed: int = 0,
        **options: Any,
    ):
        super().__init__(inputs, outputs, **options)
        # In an object, so that Keras tracks no layer twice.
        self._sandwich = _Sandwich(
            {layer.name: layer for layer in self.layers},
            elastic.Children(space),
            seed,
        )
        self._parts.metrics["distillation"] = keras.metrics.Mean("distillation")

    def differentiate(
        self, x: Any, y: Any, sample_weight: Any
    ) -> tuple[list, Any, Any]:
        """Returns the gradients of all, the largest one's loss and outputs."""
        import tensorflow as tf

        gradients, loss, y_pred = super().differentiate(x, y, sample_weight)
        for number in range(1 + RANDOM):
            # One after the other, or all of them would be in memory.
            with tf.control_dependencies(gradients):
                own = self._imitate(number, x, y_pred, sample_weight)
            gradients = [a + b for a, b in zip(gradients, own, strict=True)]
        return gradients, loss, y_pred

    def _imitate(self, number, x, targets, sample_weight):
        """Returns the gradients of a child's distance from the largest one."""
        import tensorflow as tf

        layers, children = self._sandwich.layers, self._sandwich.children
        with tf.GradientTape() as tape:
            y_pred = elastic.call(layers, children, x, self._choose(number))
            distance = losses.distillation_loss(
                targets, y_pred, temperature=1.0, sample_weight=sample_weight
            )
            scaled = self.optimizer.scale_loss(distance)
        self._record("distillation", distance, keras.ops.shape(y_pred)[0])
        return tape.gradient(scaled, self.trainable_variables)

    def _choose(self, number):
        import tensorflow as tf

        children = self._sandwich.children
        if number == 0:
            return tf.constant(children.smallest, "int32")
        step = tf.cast(self.optimizer.iterations.value, "int32")
        return children.sample(
            tf.stack([self._sandwich.seed, step * RANDOM + number - 1])
        )


@dataclasses.dataclass(frozen=True)
class _Sandwich:
    layers: dict
    children: elastic.Children
    seed: int
