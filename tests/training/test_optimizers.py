import json
import math
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import optimizer_cases
from efficientnet_tf.training import optimizers, recipes, schedules


def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else():
    layer = keras.layers.Dense(2, name="dense")
    batch_norm = keras.layers.BatchNormalization(name="bn")
    network = keras.Sequential([keras.Input((3,)), layer, batch_norm])
    for weight in network.trainable_variables:
        weight.assign(keras.ops.ones(weight.shape))
    optimizer = optimizers.make_adamw(0.1, weight_decay=0.5)
    optimizer.build(network.trainable_variables)
    zeros = [keras.ops.zeros(w.shape) for w in network.trainable_variables]
    optimizer.apply_gradients(
        zip(zeros, network.trainable_variables, strict=True)
    )
    found = {w.path: np.unique(w.numpy()) for w in network.trainable_variables}
    assert len(found) == 4
    for path, values in found.items():
        expected = 0.95 if path.endswith("kernel") else 1.0
        np.testing.assert_allclose(values, [expected], rtol=1e-6, err_msg=path)


def test_adamw_of_a_recipe_has_its_betas_epsilon_and_decay():
    recipe = recipes.get_recipe(
        "timm_ra4",
        ["warmup_epochs=0", "weight_decay=0.1", "learning_rate_per_256=0.0625"],
    )
    assert optimizers.decay_in_loss(recipe) == 0
    assert optimizers.decay_in_loss(recipes.RECIPES["v2"]) == 1e-5
    layer = keras.layers.Dense(1)
    layer.build((1,))
    layer.kernel.assign([[2.0]])
    layer.bias.assign([2.0])
    optimizer = optimizers.make_optimizer(recipe, 10)
    optimizer.build(layer.trainable_variables)
    gradients = [1.0, -3.0]
    for gradient in gradients:
        gradient = keras.ops.convert_to_tensor([gradient])
        optimizer.apply([gradient[None], gradient], layer.trainable_variables)
    # Algorithm 2 of Loshchilov and Hutter, 2019, at a rate of 1.
    kernel = bias = 2.0
    first = second = 0.0
    for step, gradient in enumerate(gradients, start=1):
        first = 0.6 * first + 0.4 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = math.sqrt(second / (1 - 0.999**step))
        change = first / (1 - 0.6**step) / (root + 1e-6)
        kernel -= 0.1 * kernel + change
        bias -= change
    assert float(layer.kernel.numpy()[0, 0]) == pytest.approx(kernel, rel=1e-4)
    assert float(layer.bias.numpy()[0]) == pytest.approx(bias, rel=1e-4)


@pytest.mark.parametrize("steps", [0, -1, float("nan")])
def test_an_epoch_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"={steps} .* batch_size=4096"):
        optimizers.make_optimizer(recipes.RECIPES["paper"], steps)


def test_the_first_step_of_rmsprop_is_tensorflow_1s():
    variable = keras.Variable([1.0])
    optimizer = optimizers.RMSprop(0.1)
    optimizer.apply([keras.ops.convert_to_tensor([2.0])], [variable])
    # mean square 0.9 * 1 + 0.1 * 4 = 1.3; it would be 0.4 from zero.
    assert float(variable.numpy()[0]) == pytest.approx(
        1 - 0.1 * 2 / math.sqrt(1.3 + 1e-3), rel=1e-6
    )


@pytest.mark.parametrize("compiled", [False, True, "xla"])
def test_rmsprop_is_tensorflow_1s_for_several_steps(compiled):
    rates = [0.0, 0.25, 0.5 * 0.9, 0.5 * 0.9]
    schedule = schedules.WarmupStairs(
        0.5, decay_steps=2, decay_rate=0.9, warmup_steps=2
    )
    variables = [
        keras.Variable(optimizer_cases.START),
        keras.Variable(optimizer_cases.START[:2]),
    ]
    optimizer = optimizers.RMSprop(schedule)
    optimizer.build(variables)

    def apply(gradient):
        optimizer.apply([gradient, gradient[:2]], variables)

    if compiled:
        apply = tf.function(apply, jit_compile=compiled == "xla")
    expected = list(
        optimizer_cases.rmsprop(
            optimizer_cases.START, optimizer_cases.GRADIENTS, rates
        )
    )
    for gradient, values in zip(
        optimizer_cases.GRADIENTS, expected, strict=True
    ):
        apply(tf.constant(gradient, "float32"))
        np.testing.assert_allclose(variables[0], values, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(
            variables[1], values[:2], rtol=2e-6, atol=1e-7
        )


def test_separate_operations_do_what_the_one_kernel_does(monkeypatch):
    variable = keras.Variable(optimizer_cases.START)
    optimizer = optimizers.RMSprop(0.25)
    optimizer.build([variable])
    monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    for gradient, values in zip(
        optimizer_cases.GRADIENTS,
        optimizer_cases.rmsprop(
            optimizer_cases.START, optimizer_cases.GRADIENTS, [0.25] * 4
        ),
        strict=True,
    ):
        optimizer.update_step(
            tf.constant(gradient, "float32"), variable.value, 0.25
        )
        np.testing.assert_allclose(variable, values, rtol=2e-6, atol=1e-7)


# The same under JAX, where TensorFlow is not needed.
JAX_PROGRAM = textwrap.dedent(
    """
    import json, sys
    import jax, keras
    from efficientnet_tf.training import ema, optimizers, schedules

    start, gradients = json.loads(sys.argv[1])
    variable = keras.Variable(start, name="kernel")
    schedule = schedules.WarmupStairs(0.25, decay_steps=9, decay_rate=1.0)
    optimizer = optimizers.RMSprop(schedule)
    optimizer.build([variable])
    average = ema.ExponentialMovingAverage([variable], 0.9)
    step = jax.jit(optimizer.stateless_apply)
    found = []
    for number, gradient in enumerate(gradients, start=1):
        gradient = keras.ops.convert_to_tensor(gradient, "float32")
        (value,), state = step(
            [v.value for v in optimizer.variables], [gradient], [variable.value]
        )
        variable.assign(value)
        for target, array in zip(optimizer.variables, state, strict=True):
            target.assign(array)
        average.update(number)
        averaged = average.variables[0].numpy().tolist()
        found.append([variable.numpy().tolist(), averaged])
    assert "tensorflow" not in sys.modules
    print(json.dumps(found))
    """
)


def test_jax_takes_the_same_steps():
    pytest.importorskip("jax")
    output = optimizer_cases.run(
        JAX_PROGRAM,
        json.dumps([optimizer_cases.START, optimizer_cases.GRADIENTS]),
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
    )
    expected = list(
        optimizer_cases.rmsprop(
            optimizer_cases.START, optimizer_cases.GRADIENTS, [0.25] * 4
        )
    )
    averages = optimizer_cases.moving_averages(
        optimizer_cases.START, expected, 0.9
    )
    np.testing.assert_allclose(
        output,
        [list(pair) for pair in zip(expected, averages, strict=True)],
        rtol=1e-5,
        atol=1e-6,
    )


def test_rmsprop_takes_a_step_for_each_accumulated_batch():
    variable = keras.Variable(optimizer_cases.START)
    optimizer = optimizers.RMSprop(0.25, gradient_accumulation_steps=4)
    optimizer.build([variable])
    apply = tf.function(
        lambda gradient: optimizer.apply([gradient], [variable])
    )
    batches = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    expected = optimizer_cases.rmsprop(
        optimizer_cases.START, batches.mean(axis=1), [0.25] * 3
    )
    for step, (batch, values) in enumerate(zip(batches, expected, strict=True)):
        before = variable.numpy()
        for gradient in batch:
            np.testing.assert_array_equal(variable, before)
            assert int(optimizer.iterations) == step
            apply(tf.constant(gradient))
        # A sum of four in another order.
        np.testing.assert_allclose(variable, values, rtol=1e-5, atol=1e-6)


def test_the_recipe_decides_the_optimizer():
    rmsprop = optimizers.make_optimizer(recipes.RECIPES["paper"], 313)
    assert type(rmsprop) is optimizers.RMSprop
    assert (rmsprop.rho, rmsprop.momentum, rmsprop.epsilon) == (0.9, 0.9, 1e-3)
    sgd = optimizers.make_optimizer(recipes.RECIPES["sgd_cosine"], 5004)
    assert type(sgd) is keras.optimizers.SGD
    assert (sgd.momentum, sgd.nesterov) == (0.9, True)
    config = recipes.get_recipe("paper", ["accumulation_steps=2"])
    for optimizer in (rmsprop, sgd, optimizers.make_optimizer(config, 9)):
        # The trainer does it.
        assert optimizer.gradient_accumulation_steps is None
        assert optimizer.weight_decay is None


@pytest.mark.parametrize("name", ["one_gpu", "sgd_cosine"])
def test_a_saved_model_trains_on_as_if_it_had_not_been_saved(name, tmp_path):
    config = recipes.get_recipe(name, ["warmup_epochs=1"])
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    network.compile(optimizers.make_optimizer(config, 4), "mse")
    inputs, targets = np.ones((6, 3), "float32"), np.zeros((6, 2), "float32")
    for _ in range(3):
        network.train_on_batch(inputs, targets)
    network.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == network.optimizer.get_config()
    for _ in range(5):
        ours = network.train_on_batch(inputs, targets)
        theirs = loaded.train_on_batch(inputs, targets)
        assert ours == theirs
    for left, right in zip(
        network.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(left, right)
