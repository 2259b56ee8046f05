import json
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import optimizer_cases
from efficientnet_tf.models import builder
from efficientnet_tf.training import ema, optimizers


@pytest.fixture(scope="module")
def b0():
    return builder.build("efficientnet_b0")


def _state(average):
    *averages, step = [v.numpy() for v in average.variables]
    paths = [variable.path for variable in average._variables]
    return dict(zip(paths, averages, strict=True)) | {"step": step}


@pytest.mark.parametrize("compiled", [False, True])
def test_the_averages_decay_rises_to_its_limit(compiled):
    variable = keras.Variable([4.0, 0.0], name="kernel")
    average = ema.ExponentialMovingAverage([variable], 0.35)
    update = tf.function(average.update) if compiled else average.update
    values = [[1.0, 2.0], [3.0, -1.0], [0.0, 5.0], [7.0, 7.0], [1.0, 0.0]]
    # 2/11, 3/12 and 4/13, then the limit: 5/14 would be more.
    expected = optimizer_cases.moving_averages([4.0, 0.0], values, 0.35)
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
    average = ema.ExponentialMovingAverage([variable], 0.9)
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
    average = ema.ExponentialMovingAverage([variable], 0.9999)

    @tf.function
    def step():
        optimizer.apply([tf.constant([1.0])], [variable])
        average.update(optimizer.iterations)

    values = []
    for _ in range(6):
        step()
        values.append(variable.numpy())
    expected = optimizer_cases.moving_averages([1.0], values[1::2], 0.9999)[-1]
    state = _state(average)
    assert state["step"] == 3
    np.testing.assert_allclose(state["kernel"], expected, rtol=1e-6)


def test_an_overflowed_step_leaves_the_average_alone():
    inner = optimizers.RMSprop(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)
    variable = keras.Variable([1.0], name="kernel")
    optimizer.build([variable])
    average = ema.ExponentialMovingAverage([variable], 0.9999)

    @tf.function
    def step(gradient):
        optimizer.apply([gradient], [variable])
        average.update(optimizer.iterations)

    values = []
    for gradient in (8.0, float("inf"), 4.0, float("nan"), float("inf")):
        step(tf.constant([gradient]))
        values.append(variable.numpy())
    # The scale was halved in between: both gradients are 1.
    expected = list(optimizer_cases.rmsprop([1.0], [[1.0], [1.0]], [0.1, 0.1]))
    np.testing.assert_allclose(
        values, [expected[0]] * 2 + [expected[1]] * 3, rtol=1e-6
    )
    state = _state(average)
    assert state["step"] == 2
    np.testing.assert_allclose(
        state["kernel"],
        optimizer_cases.moving_averages([1.0], expected, 0.9999)[-1],
        rtol=1e-6,
    )


def test_batch_norms_statistics_are_averaged_too(b0):
    average = ema.ExponentialMovingAverage(b0.weights, 0.9999)
    paths = set(_state(average)) - {"step"}
    assert paths == {variable.path for variable in b0.weights}
    assert sum("moving_" in path for path in paths) == 2 * 49
    assert len(paths) == 213 + 2 * 49


def test_swapping_twice_changes_nothing():
    variable = keras.Variable([4.0], name="kernel")
    average = ema.ExponentialMovingAverage([variable], 0.9)
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
    first = ema.ExponentialMovingAverage([variable], 0.9)
    variable.assign([1.0])
    first.update(1)
    second = ema.ExponentialMovingAverage([variable], 0.9)
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
    from efficientnet_tf.training import ema, optimizers

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
        average = ema.ExponentialMovingAverage([variable], 0.9)

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
    # Swapped in and back; replicas' averages can be updated from outside.
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
    found, swapped, last = optimizer_cases.run(
        REPLICAS_PROGRAM,
        json.dumps([optimizer_cases.START, optimizer_cases.GRADIENTS]),
        KERAS_BACKEND="tensorflow",
    )
    expected = list(
        optimizer_cases.rmsprop(
            optimizer_cases.START, optimizer_cases.GRADIENTS, [0.25] * 4
        )
    )
    averages = optimizer_cases.moving_averages(
        optimizer_cases.START, expected + expected[-1:], 0.9
    )
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
        ema.ExponentialMovingAverage([variable], 0.9)
