import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.models import builder
from efficientnet_tf.training import losses

LOGITS = np.random.default_rng(0).normal(0, 2, (2, 4, 6)).astype("float32")


def softmax(logits):
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(axis=-1, keepdims=True)


def by_hand(temperature):
    """The formula on logits; the function itself gets probabilities."""
    teacher, student = softmax(LOGITS / temperature)
    divergence = (teacher * np.log(teacher / student)).sum(axis=-1)
    return temperature**2 * divergence


def loss(predictions, **options):
    targets = softmax(LOGITS)[0].astype("float32")
    return losses.distillation_loss(targets, predictions, **options)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 20.0])
def test_it_is_the_divergence_of_the_softened_logits(temperature):
    predictions = softmax(LOGITS)[1].astype("float32")
    found = loss(predictions, temperature=temperature)
    np.testing.assert_allclose(found, by_hand(temperature).mean(), rtol=1e-4)


def test_images_of_weight_0_do_not_count():
    predictions = softmax(LOGITS)[1].astype("float32")
    weights = np.float32([1, 0, 1, 0])
    found = loss(predictions, temperature=2.0, sample_weight=weights)
    np.testing.assert_allclose(found, by_hand(2.0)[::2].mean(), rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_the_gradient_to_the_logits_is_that_of_the_paper(temperature):
    teacher, student = (tf.Variable(logits) for logits in LOGITS)
    with tf.GradientTape() as tape:
        value = losses.distillation_loss(
            keras.ops.softmax(teacher),
            keras.ops.softmax(student),
            temperature=temperature,
        )
    gradients = tape.gradient(value, [teacher, student])
    assert gradients[0] is None
    # Section 2, equation 2, times T ** 2 and over the four images.
    targets, softened = softmax(LOGITS / temperature)
    expected = temperature * (softened - targets) / 4
    np.testing.assert_allclose(gradients[1], expected, atol=1e-6)


# Between the highest and the lowest logit; below e^-16 Keras clips.
@pytest.mark.parametrize("spread", [20.0, 40.0, 68.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_logits_far_apart_count_as_logits(spread, temperature):
    noise = np.random.default_rng(1)
    logits = noise.uniform(-spread, 0, (2, 4, 6))
    logits[..., 0] = 0
    targets, student = tf.constant(logits, "float32")
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = losses.distillation_loss(
            keras.ops.softmax(targets),
            keras.ops.softmax(student),
            temperature=temperature,
        )
    softened = softmax(logits / temperature)
    teacher, predicted = softened
    divergence = (teacher * np.log(teacher / predicted)).sum(-1).mean()
    assert float(value) == pytest.approx(
        temperature**2 * divergence, rel=1e-4, abs=1e-5
    )
    np.testing.assert_allclose(
        tape.gradient(value, student),
        temperature * (predicted - teacher) / 4,
        atol=1e-5 * temperature,
    )


def test_certain_predictions_stay_finite():
    certain = np.eye(6, dtype="float32")[[0, 1, 2, 3]]
    assert np.isfinite(loss(certain, temperature=1.0))


def test_the_penalty_is_half_the_squares_of_all_but_batch_norm():
    network = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, name="dense"),
            keras.layers.BatchNormalization(name="bn"),
        ]
    )
    for variable in network.trainable_variables:
        variable.assign(keras.ops.full(variable.shape, 2.0))
    # A kernel of 6 and a bias of 2 numbers, each squared to 4.
    found = losses.l2_penalty(network.trainable_variables, 0.1)
    assert float(found) == pytest.approx(0.1 * 0.5 * 8 * 4, rel=1e-6)
    with tf.GradientTape() as tape:
        loss = losses.l2_penalty(network.trainable_variables, 0.1)
    kernel, bias = network.layers[0].trainable_variables
    for gradient in tape.gradient(loss, [kernel.value, bias.value]):
        np.testing.assert_allclose(gradient, 0.1 * 2.0, rtol=1e-6)


@pytest.fixture(scope="module")
def b0():
    return builder.build("efficientnet_b0")


def test_of_kernels_alone_biases_are_left_out():
    layer = keras.layers.Dense(2)
    layer.build((3,))
    for variable in layer.trainable_variables:
        variable.assign(keras.ops.full(variable.shape, 2.0))
    for decayed, count in (("all", 8), ("kernels", 6)):
        found = losses.l2_penalty(layer.trainable_variables, 0.1, decayed)
        assert float(found) == pytest.approx(0.5 * 0.1 * 4 * count)


def test_the_penalty_of_b0_leaves_out_its_49_batch_norms(b0):
    variables = b0.trainable_variables
    decayed = [v for v in variables if v.name not in losses.UNDECAYED["all"]]
    # 16 blocks have 3 batch norms each, the first block 2; stem and head.
    assert len(variables) - len(decayed) == 2 * 49
    expected = sum(np.sum(np.square(v.numpy(), dtype="f8")) for v in decayed)
    found = losses.l2_penalty(variables, 1e-5)
    assert float(found) == pytest.approx(0.5e-5 * expected, rel=1e-5)


def test_without_decay_there_is_no_penalty():
    variable = keras.Variable([float("inf")], name="kernel")
    assert float(losses.l2_penalty([variable], 0)) == 0
    assert float(losses.l2_penalty([], 0.1)) == 0
