"""Terms added to the cross-entropy: weight decay and distillation."""

from collections.abc import Iterable
from typing import Any

import keras

# Keras, too, clips probabilities here before it takes their logarithm.
MIN_PROBABILITY = 1e-7
# Names of the trainable variables of batch normalization.
BATCH_NORM = ("gamma", "beta")


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

    Args:
      targets: the teacher's probabilities [N, classes], without gradients.
      predictions: the student's probabilities [N, classes].
      temperature: T.
      sample_weight: None, or [N].
    """
    divergence = keras.losses.KLDivergence(reduction="mean_with_sample_weight")
    return temperature**2 * divergence(
        keras.ops.stop_gradient(_soften(targets, temperature)),
        _soften(predictions, temperature),
        sample_weight,
    )


def l2_penalty(variables: Iterable[keras.Variable], weight_decay: float) -> Any:
    """Returns `weight_decay` times half the sum of squares, a scalar.

    As in the official code, it covers all variables, biases included, except
    those of batch norm. It belongs to the loss of a whole step: if gradients
    are summed over replicas, each replica adds only its share.

    Args:
      variables: e.g. `model.trainable_variables`.
      weight_decay: 0 means none.
    """
    ops = keras.ops
    decayed = [v for v in variables if v.name not in BATCH_NORM]
    if not weight_decay or not decayed:
        return ops.zeros(())
    squares = [ops.sum(ops.square(variable)) for variable in decayed]
    return 0.5 * weight_decay * ops.sum(ops.stack(squares))


def _soften(probabilities, temperature):
    # The logarithm of probabilities equals the logits up to a constant.
    probabilities = keras.ops.cast(probabilities, "float32")
    logits = keras.ops.log(keras.ops.maximum(probabilities, MIN_PROBABILITY))
    return keras.ops.softmax(logits / temperature)
