"""Knowledge distillation: what a student loses against its teacher."""

import keras

# Keras clips probabilities here too before it takes their logarithm.
MIN_PROBABILITY = 1e-7


def distillation_loss(targets, predictions, *, temperature, sample_weight=None):
    """Returns T ** 2 * KL(targets || predictions), both softened by T.

    Hinton et al., 2015, section 2, https://arxiv.org/abs/1503.02531; the factor
    keeps gradients in the scale of the cross-entropy's whatever T is. Like a
    Keras loss it is a replica's share of the mean over all replicas.

    Args:
      targets: the teacher's probabilities [N, classes]; get no gradient.
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


def _soften(probabilities, temperature):
    # The logarithm of probabilities is the logits up to a constant.
    probabilities = keras.ops.cast(probabilities, "float32")
    logits = keras.ops.log(keras.ops.maximum(probabilities, MIN_PROBABILITY))
    return keras.ops.softmax(logits / temperature)
