import json
import math
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import paths
from efficientnet_tf.models import builder
from efficientnet_tf.training import optimizers, recipes


def _values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_the_rate_rises_in_a_line_and_falls_on_a_cosine():
    schedule = optimizers.warmup_cosine(0.4, total_steps=12, warmup_steps=4)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4]
    # 8 steps of cosine: at 2 of 8, (1 + cos(pi / 4)) / 2, and so on.
    expected += [0.2 * (1 + math.cos(math.pi * i / 8)) for i in (1, 2, 4, 7, 8)]
    steps = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12]
    np.testing.assert_allclose(_values(schedule, steps), expected, atol=1e-7)


def test_without_warm_up_the_rate_starts_at_its_peak():
    schedule = optimizers.warmup_cosine(0.4, total_steps=8, warmup_steps=0)
    np.testing.assert_allclose(
        _values(schedule, [0, 4, 8, 9]), [0.4, 0.2, 0, 0], atol=1e-7
    )


@pytest.mark.parametrize("warmup", [8, 9])
def test_a_warm_up_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(ValueError, match=f"{warmup} steps .* 8 steps"):
        optimizers.warmup_cosine(0.4, 8, warmup)


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


def test_a_boundary_divides_the_rate_by_ten_after_its_step():
    schedule = optimizers.WarmupTenths(0.3, boundaries=[4, 6], warmup_steps=3)
    expected = [0.0, 0.1, 0.2, 0.3, 0.3, 0.03, 0.03, 0.003, 0.003]
    np.testing.assert_allclose(
        _values(schedule, range(9)), expected, rtol=1e-6, atol=1e-9
    )
    again = optimizers.WarmupTenths.from_config(schedule.get_config())
    assert _values(again, range(9)) == _values(schedule, range(9))


# Of warm-up over 4 steps to 0.5 and a factor of 0.9 every 2.5 steps, from step
# 0 on: step 4 is past the first stair, 5 on the second, 8 on the third.
STAIRS = [
    (0, 0.0),
    (1, 0.125),
    (3, 0.375),
    (4, 0.5 * 0.9),
    (5, 0.5 * 0.81),
    (7, 0.5 * 0.81),
    (8, 0.5 * 0.729),
    (25, 0.5 * 0.9**10),
]


@pytest.mark.parametrize("step,expected", STAIRS)
def test_the_rate_rises_in_a_line_and_falls_in_stairs(step, expected):
    schedule = optimizers.WarmupStairs(
        0.5, decay_steps=2.5, decay_rate=0.9, warmup_steps=4
    )
    for copy in (schedule, type(schedule).from_config(schedule.get_config())):
        for given in (step, tf.constant(step, "int64")):
            assert float(copy(given)) == pytest.approx(expected, rel=1e-6)


def test_the_papers_rate_is_the_official_codes_at_every_step():
    config = recipes.RECIPES["tpu_v3_32"]
    # utils.py of the official code, in double precision.
    per_epoch = 1_281_167 / 2048
    steps = np.arange(218_949)
    expected = 0.128 * 0.97 ** np.floor(steps / (2.4 * per_epoch))
    rising = steps < int(5 * per_epoch)
    expected[rising] = 0.128 * steps[rising] / int(5 * per_epoch)
    found = np.asarray(optimizers.make_schedule(config, per_epoch)(steps))
    assert found.shape == expected.shape
    wrong = ~np.isclose(found, expected, rtol=1e-5, atol=0)
    # Single precision, which the official code has too, may take a stair one
    # step early where it falls on a whole step.
    assert wrong.sum() <= 1
    # The rise ends two stairs down, and the run at 0.97 ** 145.
    assert found[int(5 * per_epoch)] == pytest.approx(0.128 * 0.97**2, rel=1e-5)
    assert found[-1] == pytest.approx(0.128 * 0.97**145, rel=1e-4)


def test_the_cosine_recipe_falls_to_nothing():
    config = recipes.get_recipe("sgd_cosine", ["epochs=6", "warmup_epochs=2"])
    schedule = optimizers.make_schedule(config, steps_per_epoch=10)
    # 0.4 at 256 images; 20 steps up, 40 down.
    np.testing.assert_allclose(
        _values(schedule, [0, 10, 20, 40, 60]), [0, 0.2, 0.4, 0.2, 0], atol=1e-6
    )


@pytest.mark.parametrize("steps", [0, -1, float("nan")])
def test_an_epoch_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"={steps} .* batch_size=4096"):
        optimizers.make_optimizer(recipes.RECIPES["paper"], steps)


def _rmsprop(values, gradients, rates):
    """TensorFlow 1's RMSProp, written out; yields the values of each step."""
    values = np.array(values, "float64")
    mean_square, momentum = np.ones_like(values), np.zeros_like(values)
    for gradient, rate in zip(gradients, rates, strict=True):
        gradient = np.array(gradient, "float64")
        mean_square = mean_square * 0.9 + 0.1 * gradient**2
        momentum = 0.9 * momentum + rate * gradient / np.sqrt(
            mean_square + 1e-3
        )
        values = values - momentum
        yield values


# Zero, small and large ones, and a change of sign.
GRADIENTS = [[1.0, 0.0, 1e-3], [0.5, 2.0, -1e-3], [-3.0, 0.0, 0.1], [1, 1, 1]]
START = [1.0, -2.0, 0.0]


def test_the_first_step_of_rmsprop_is_tensorflow_1s():
    variable = keras.Variable([1.0])
    optimizer = optimizers.RMSprop(0.1)
    optimizer.apply([keras.ops.convert_to_tensor([2.0])], [variable])
    # mean square 0.9 * 1 + 0.1 * 4 = 1.3; it would be 0.4 from zero.
    assert float(variable.numpy()[0]) == pytest.approx(
        1 - 0.1 * 2 / math.sqrt(1.3 + 1e-3), rel=1e-6
    )


def _state(average):
    *averages, step = [v.numpy() for v in average.variables]
    paths = [variable.path for variable in average._variables]
    return dict(zip(paths, averages, strict=True)) | {"step": step}


@pytest.mark.parametrize("compiled", [False, True, "xla"])
def test_rmsprop_is_tensorflow_1s_for_several_steps(compiled):
    rates = [0.0, 0.25, 0.5 * 0.9, 0.5 * 0.9]
    schedule = optimizers.WarmupStairs(
        0.5, decay_steps=2, decay_rate=0.9, warmup_steps=2
    )
    variables = [keras.Variable(START), keras.Variable(START[:2])]
    optimizer = optimizers.RMSprop(schedule)
    optimizer.build(variables)

    def apply(gradient):
        optimizer.apply([gradient, gradient[:2]], variables)

    if compiled:
        apply = tf.function(apply, jit_compile=compiled == "xla")
    expected = list(_rmsprop(START, GRADIENTS, rates))
    for gradient, values in zip(GRADIENTS, expected, strict=True):
        apply(tf.constant(gradient, "float32"))
        np.testing.assert_allclose(variables[0], values, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(
            variables[1], values[:2], rtol=2e-6, atol=1e-7
        )


def test_separate_operations_do_what_the_one_kernel_does(monkeypatch):
    variable = keras.Variable(START)
    optimizer = optimizers.RMSprop(0.25)
    optimizer.build([variable])
    monkeypatch.setattr(keras.backend, "backend", lambda: "another")
    for gradient, values in zip(
        GRADIENTS, _rmsprop(START, GRADIENTS, [0.25] * 4), strict=True
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
    from efficientnet_tf.training import optimizers

    start, gradients = json.loads(sys.argv[1])
    variable = keras.Variable(start, name="kernel")
    schedule = optimizers.WarmupStairs(0.25, decay_steps=9, decay_rate=1.0)
    optimizer = optimizers.RMSprop(schedule)
    optimizer.build([variable])
    average = optimizers.ExponentialMovingAverage([variable], 0.9)
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
    output = _run(
        JAX_PROGRAM,
        json.dumps([START, GRADIENTS]),
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
    )
    expected = list(_rmsprop(START, GRADIENTS, [0.25] * 4))
    averages = _averages(START, expected, 0.9)
    np.testing.assert_allclose(
        output,
        [list(pair) for pair in zip(expected, averages, strict=True)],
        rtol=1e-5,
        atol=1e-6,
    )


def _run(program, *arguments, **environment):
    """Runs a program; returns what its last line of output says."""
    output = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=paths.ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    return json.loads(output.stdout.splitlines()[-1])


def test_rmsprop_takes_a_step_for_each_accumulated_batch():
    variable = keras.Variable(START)
    optimizer = optimizers.RMSprop(0.25, gradient_accumulation_steps=4)
    optimizer.build([variable])
    apply = tf.function(
        lambda gradient: optimizer.apply([gradient], [variable])
    )
    batches = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    expected = _rmsprop(START, batches.mean(axis=1), [0.25] * 3)
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
    found = optimizers.l2_penalty(network.trainable_variables, 0.1)
    assert float(found) == pytest.approx(0.1 * 0.5 * 8 * 4, rel=1e-6)
    with tf.GradientTape() as tape:
        loss = optimizers.l2_penalty(network.trainable_variables, 0.1)
    kernel, bias = network.layers[0].trainable_variables
    for gradient in tape.gradient(loss, [kernel.value, bias.value]):
        np.testing.assert_allclose(gradient, 0.1 * 2.0, rtol=1e-6)


def test_the_penalty_of_b0_leaves_out_its_49_batch_norms(b0):
    variables = b0.trainable_variables
    decayed = [v for v in variables if v.name not in optimizers.BATCH_NORM]
    # 16 blocks have 3 batch norms each, the first block 2; stem and head.
    assert len(variables) - len(decayed) == 2 * 49
    expected = sum(np.sum(np.square(v.numpy(), dtype="f8")) for v in decayed)
    found = optimizers.l2_penalty(variables, 1e-5)
    assert float(found) == pytest.approx(0.5e-5 * expected, rel=1e-5)


def test_without_decay_there_is_no_penalty():
    variable = keras.Variable([float("inf")], name="kernel")
    assert float(optimizers.l2_penalty([variable], 0)) == 0
    assert float(optimizers.l2_penalty([], 0.1)) == 0


@pytest.fixture(scope="module")
def b0():
    return builder.build("efficientnet_b0")


def _averages(start, values, decay):
    """TensorFlow 1's moving average, written out, after each value."""
    average = np.array(start, "float64")
    averages = []
    for number, value in enumerate(values, start=1):
        ramped = min(decay, (1 + number) / (10 + number))
        average = ramped * average + (1 - ramped) * np.array(value, "float64")
        averages.append(average)
    return averages


@pytest.mark.parametrize("compiled", [False, True])
def test_the_averages_decay_rises_to_its_limit(compiled):
    variable = keras.Variable([4.0, 0.0], name="kernel")
    average = optimizers.ExponentialMovingAverage([variable], 0.35)
    update = tf.function(average.update) if compiled else average.update
    values = [[1.0, 2.0], [3.0, -1.0], [0.0, 5.0], [7.0, 7.0], [1.0, 0.0]]
    # 2/11, 3/12 and 4/13, then the limit: 5/14 would be more.
    expected = _averages([4.0, 0.0], values, 0.35)
    assert expected[0][0] == pytest.approx((2 * 4 + 9 * 1) / 11)
    for number, (value, after) in enumerate(
        zip(values, expected, strict=True), start=1
    ):
        variable.assign(value)
        update(tf.constant(number, "int64"))
        state = _state(average)
        np.testing.assert_allclose(state["kernel"], after, rtol=1e-6)
        assert state["step"] == number


def test_a_step_that_was_none_leaves_the_average_alone():
    variable = keras.Variable([4.0], name="kernel")
    average = optimizers.ExponentialMovingAverage([variable], 0.9)
    variable.assign([1.0])
    for _ in range(3):
        average.update(0)
    assert _state(average)["kernel"][0] == 4.0
    for _ in range(3):
        average.update(1)
    assert _state(average)["kernel"][0] == pytest.approx(17 / 11)


def test_averages_follow_optimizer_steps_and_not_micro_batches():
    optimizer = optimizers.RMSprop(0.1, gradient_accumulation_steps=2)
    variable = keras.Variable([1.0], name="kernel")
    optimizer.build([variable])
    average = optimizers.ExponentialMovingAverage([variable], 0.9999)

    @tf.function
    def step():
        optimizer.apply([tf.constant([1.0])], [variable])
        average.update(optimizer.iterations)

    values = []
    for _ in range(6):
        step()
        values.append(variable.numpy())
    expected = _averages([1.0], values[1::2], 0.9999)[-1]
    state = _state(average)
    assert state["step"] == 3
    np.testing.assert_allclose(state["kernel"], expected, rtol=1e-6)


def test_an_overflowed_step_leaves_the_average_alone():
    inner = optimizers.RMSprop(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    variable = keras.Variable([1.0], name="kernel")
    optimizer.build([variable])
    average = optimizers.ExponentialMovingAverage([variable], 0.9999)

    @tf.function
    def step(gradient):
        optimizer.apply([gradient], [variable])
        average.update(optimizer.iterations)

    values = []
    for gradient in (8.0, float("inf"), 4.0, float("nan"), float("inf")):
        step(tf.constant([gradient]))
        values.append(variable.numpy())
    # The scale was halved in between: both gradients are 1.
    expected = list(_rmsprop([1.0], [[1.0], [1.0]], [0.1, 0.1]))
    np.testing.assert_allclose(
        values, [expected[0]] * 2 + [expected[1]] * 3, rtol=1e-6
    )
    state = _state(average)
    assert state["step"] == 2
    np.testing.assert_allclose(
        state["kernel"], _averages([1.0], expected, 0.9999)[-1], rtol=1e-6
    )


def test_batch_norms_statistics_are_averaged_too(b0):
    average = optimizers.ExponentialMovingAverage(b0.weights, 0.9999)
    paths = set(_state(average)) - {"step"}
    assert paths == {variable.path for variable in b0.weights}
    assert sum("moving_" in path for path in paths) == 2 * 49
    assert len(paths) == 213 + 2 * 49


def test_swapping_twice_changes_nothing():
    variable = keras.Variable([4.0], name="kernel")
    average = optimizers.ExponentialMovingAverage([variable], 0.9)
    variable.assign([1.0])
    average.update(1)
    average.swap()
    assert variable.numpy()[0] == pytest.approx(17 / 11)
    with pytest.raises(RuntimeError, match="Swap back"):
        _state(average)
    average.swap()
    assert variable.numpy()[0] == 1.0
    assert _state(average)["kernel"][0] == pytest.approx(17 / 11)
    # Neither shares its memory with the other.
    variable.assign([5.0])
    assert _state(average)["kernel"][0] == pytest.approx(17 / 11)


def test_a_restored_average_goes_on_where_it_stood():
    variable = keras.Variable([4.0], name="kernel")
    first = optimizers.ExponentialMovingAverage([variable], 0.9)
    variable.assign([1.0])
    first.update(1)
    second = optimizers.ExponentialMovingAverage([variable], 0.9)
    for mine, theirs in zip(second.variables, first.variables, strict=True):
        mine.assign(theirs)
    for step in (1, 2, 3):
        first.update(step)
        second.update(step)
        assert _state(first) == _state(second)
    assert _state(first)["step"] == 3


# Two replicas on logical devices, which must exist before anything else; the
# gradients of a step are a quarter and three quarters of the whole.
REPLICAS_PROGRAM = textwrap.dedent(
    """
    import json, sys
    import tensorflow as tf
    import keras
    from efficientnet_tf.training import optimizers

    start, gradients = json.loads(sys.argv[1])
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variable = keras.Variable(start, name="kernel")
        optimizer = optimizers.RMSprop(0.25)
        optimizer.build([variable])
        average = optimizers.ExponentialMovingAverage([variable], 0.9)

    def in_replica(gradient):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        share = tf.cast(replica, tf.float32)
        optimizer.apply([gradient * (0.25 + 0.5 * share)], [variable])
        average.update(optimizer.iterations)

    @tf.function
    def step(gradient):
        strategy.run(in_replica, args=(gradient,))

    found = []
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
        copies = [
            copy.numpy().tolist()
            for mirrored in (variable, average._averages[0])
            for copy in strategy.experimental_local_results(mirrored.value)
        ]
        found.append(copies)
    # To evaluate, and back; the averages of replicas can be updated outside.
    average.swap()
    swapped = [
        copy.numpy().tolist()
        for copy in strategy.experimental_local_results(variable.value)
    ]
    average.swap()
    tf.function(average.update)(len(gradients) + 1)
    last = [
        copy.numpy().tolist()
        for copy in strategy.experimental_local_results(
            average._averages[0].value
        )
    ]
    print(json.dumps([found, swapped, last]))
    """
)


def test_replicas_hold_the_same_weights_and_averages():
    found, swapped, last = _run(
        REPLICAS_PROGRAM,
        json.dumps([START, GRADIENTS]),
        KERAS_BACKEND="tensorflow",
    )
    expected = list(_rmsprop(START, GRADIENTS, [0.25] * 4))
    averages = _averages(START, expected + expected[-1:], 0.9)
    for copies, values, average in zip(
        found, expected, averages[:-1], strict=True
    ):
        weights, others, first, second = copies
        assert weights == others
        assert first == second
        np.testing.assert_allclose(weights, values, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(first, average, rtol=2e-6, atol=1e-7)
    assert swapped == found[-1][2:]
    assert last[0] == last[1]
    np.testing.assert_allclose(last[0], averages[-1], rtol=2e-6, atol=1e-7)


def test_averages_made_outside_of_the_scope_are_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        variable = keras.Variable([1.0], name="kernel")
    with pytest.raises(ValueError, match="in the scope of the strategy"):
        optimizers.ExponentialMovingAverage([variable], 0.9)
