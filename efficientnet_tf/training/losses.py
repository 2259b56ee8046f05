"""Terms added to the cross-entropy: weight decay and distillation."""

from collections.abc import Iterable
from typing import Any

import keras

# The least probability whose logarithm is taken, e^-69. Its inverse, a factor
# of the gradient, must not overflow float32 together with a high temperature.
MIN_PROBABILITY = 1e-30
# Names of the trainable variables that do not decay, by what does: "all" as in
# the first family's official code, "kernels" as in the second's and in timm's.
UNDECAYED = {"all": ("gamma", "beta"), "kernels": ("gamma", "beta", "bias")}


def distillation_loss(
    targets: Any,
    predictions: Any,
    *,
    temperature: float,
    sample_weight: Any | None = None,
) -> Any:
    """Returns T ** 2 * KL(targets || predictions), both softened by T.

    Hinton et al., 2015, section 2, https://arxiv.org/abs/1503.02531; the factor
    T ** 2 keeps the gradients on the scale of the cross-entropy's. Like a Keras
    loss, it is one replica's share of the mean over all replicas.

    Softening works on logits, which the logarithms of probabilities are up to
    a constant, for classes whose logits are at most 69 below the highest.

    Args:
      targets: the teacher's probabilities [N, classes], without gradients.
      predictions: the student's probabilities [N, classes].
      temperature: T.
      sample_weight: None, or [N].
    """
    divergence = _Divergence(
        name="divergence", reduction="mean_with_sample_weight"
    )
    return temperature**2 * divergence(
        keras.ops.stop_gradient(_soften(targets, temperature)),
        _soften(predictions, temperature),
        sample_weight,
    )


def l2_penalty(
    variables: Iterable[keras.Variable],
    weight_decay: float,
    decayed: str = "all",
) -> Any:
    """Returns `weight_decay` times half the sum of squares, a scalar.

    It belongs to the loss of a whole step: if gradients are summed over
    replicas, each replica adds only its share.

    Args:
      variables: e.g. `model.trainable_variables`.
      weight_decay: 0 means none.
      decayed: a key of `UNDECAYED`.
    """
    ops = keras.ops
    chosen = [v for v in variables if v.name not in UNDECAYED[decayed]]
    if not weight_decay or not chosen:
        return ops.zeros(())
    squares = [ops.sum(ops.square(variable)) for variable in chosen]
    return 0.5 * weight_decay * ops.sum(ops.stack(squares))


class AsymmetricLoss(keras.losses.Loss):
    """The asymmetric loss of several labels an image, the mean over labels.

    Ridnik et al., 2021, https://arxiv.org/abs/2009.14119, equations 4 to 7, by
    the defaults of its code: easy negatives count less than easy positives, and
    those below `shift` not at all. Targets may be mixtures, in [0, 1].
    """

    positive, negative, shift = 1.0, 4.0, 0.05

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, [N]."""
        ops = keras.ops
        y_true = ops.cast(y_true, "float32")
        y_pred = ops.cast(y_pred, "float32")
        least = keras.backend.epsilon()
        no = ops.minimum(1 - y_pred + self.shift, 1.0)
        found = y_true * ops.log(ops.maximum(y_pred, least))
        left = (1 - y_true) * ops.log(ops.maximum(no, least))
        # As in its code, constants for the gradient would be wrong: the focus
        # is part of the loss.
        right = y_pred * y_true + no * (1 - y_true)
        focus = self.positive * y_true + self.negative * (1 - y_true)
        weight = ops.power(ops.maximum(1 - right, 0.0), focus)
        return -ops.mean(weight * (found + left), axis=-1)


class _Divergence(keras.losses.Loss):
    """KL divergence of log-probabilities; Keras's own clips at 1e-7."""

    def call(self, y_true, y_pred):
        terms = keras.ops.exp(y_true) * (y_true - y_pred)
        return keras.ops.sum(terms, axis=-1)


def _soften(probabilities, temperature):
    """Returns the logarithms of the softened probabilities."""
    probabilities = keras.ops.cast(probabilities, "float32")
    logits = keras.ops.log(keras.ops.maximum(probabilities, MIN_PROBABILITY))
    return keras.ops.log_softmax(logits / temperature)
