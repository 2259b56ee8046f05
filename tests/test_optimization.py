import math

import keras
import numpy as np
import pytest

from efficientnet_tf import optimization


def _values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_the_rate_rises_in_a_line_and_falls_on_a_cosine():
    schedule = optimization.warmup_cosine(0.4, total_steps=12, warmup_steps=4)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4]
    # 8 steps of cosine: at 2 of 8, (1 + cos(pi / 4)) / 2, and so on.
    expected += [0.2 * (1 + math.cos(math.pi * i / 8)) for i in (1, 2, 4, 7, 8)]
    steps = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12]
    np.testing.assert_allclose(_values(schedule, steps), expected, atol=1e-7)


def test_without_warm_up_the_rate_starts_at_its_peak():
    schedule = optimization.warmup_cosine(0.4, total_steps=8, warmup_steps=0)
    np.testing.assert_allclose(
        _values(schedule, [0, 4, 8, 9]), [0.4, 0.2, 0, 0], atol=1e-7
    )


@pytest.mark.parametrize("warmup", [8, 9])
def test_a_warm_up_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(ValueError, match=f"{warmup} steps .* 8 steps"):
        optimization.warmup_cosine(0.4, 8, warmup)


def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else():
    layer = keras.layers.Dense(2, name="dense")
    batch_norm = keras.layers.BatchNormalization(name="bn")
    network = keras.Sequential([keras.Input((3,)), layer, batch_norm])
    for weight in network.trainable_variables:
        weight.assign(keras.ops.ones(weight.shape))
    optimizer = optimization.make_adamw(0.1, weight_decay=0.5)
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


def test_the_average_follows_with_its_decay():
    variable = keras.Variable([1.0], name="kernel")
    optimizer = optimization.make_adamw(0.1, weight_decay=0, ema_decay=0.75)
    optimizer.build([variable])
    optimizer.apply_gradients([(keras.ops.ones((1,)), variable)])
    # Adam's first step is the learning rate; Keras starts the average at the
    # first value that it sees.
    moved = float(variable.numpy()[0])
    assert moved == pytest.approx(0.9, abs=1e-4)
    averages = [
        float(v.numpy()[0]) for v in optimizer._model_variables_moving_average
    ]
    optimizer.apply_gradients([(keras.ops.ones((1,)), variable)])
    after = [
        float(v.numpy()[0]) for v in optimizer._model_variables_moving_average
    ]
    expected = 0.75 * averages[0] + 0.25 * float(variable.numpy()[0])
    assert after[0] == pytest.approx(expected, abs=1e-6)
    optimizer.finalize_variable_values([variable])
    assert float(variable.numpy()[0]) == pytest.approx(after[0])


def test_without_a_decay_nothing_is_averaged():
    assert not optimization.make_adamw(0.1, weight_decay=0.1).use_ema
