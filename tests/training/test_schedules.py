import math

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.training import recipes, schedules


def _values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_the_rate_rises_in_a_line_and_falls_on_a_cosine():
    schedule = schedules.warmup_cosine(0.4, total_steps=12, warmup_steps=4)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4]
    # 8 steps of cosine: at 2 of 8, (1 + cos(pi / 4)) / 2, and so on.
    expected += [0.2 * (1 + math.cos(math.pi * i / 8)) for i in (1, 2, 4, 7, 8)]
    steps = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12]
    np.testing.assert_allclose(_values(schedule, steps), expected, atol=1e-7)


def test_without_warm_up_the_rate_starts_at_its_peak():
    schedule = schedules.warmup_cosine(0.4, total_steps=8, warmup_steps=0)
    np.testing.assert_allclose(
        _values(schedule, [0, 4, 8, 9]), [0.4, 0.2, 0, 0], atol=1e-7
    )


@pytest.mark.parametrize("warmup", [8, 9])
def test_a_warm_up_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(ValueError, match=f"{warmup} steps .* 8 steps"):
        schedules.warmup_cosine(0.4, 8, warmup)


def test_a_boundary_divides_the_rate_by_ten_after_its_step():
    schedule = schedules.WarmupTenths(0.3, boundaries=[4, 6], warmup_steps=3)
    expected = [0.0, 0.1, 0.2, 0.3, 0.3, 0.03, 0.03, 0.003, 0.003]
    np.testing.assert_allclose(
        _values(schedule, range(9)), expected, rtol=1e-6, atol=1e-9
    )
    again = schedules.WarmupTenths.from_config(schedule.get_config())
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
    schedule = schedules.WarmupStairs(
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
    found = np.asarray(schedules.make_schedule(config, per_epoch)(steps))
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
    schedule = schedules.make_schedule(config, steps_per_epoch=10)
    # 0.4 at 256 images; 20 steps up, 40 down.
    np.testing.assert_allclose(
        _values(schedule, [0, 10, 20, 40, 60]), [0, 0.2, 0.4, 0.2, 0], atol=1e-6
    )
