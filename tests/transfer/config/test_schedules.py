import pytest

from transfer.config import recipes, schedules


def test_kornbliths_schedule_is_a_cosine_over_20_000_steps():
    config = recipes.RECIPES["kornblith"]
    # 50,000 images of CIFAR are 195 steps of 256.
    assert schedules.plan_rounds(config, 195) == (80, 250)
    rate = schedules.make_schedule(config, 195)
    for step, share in ((0, 1.0), (5_000, 0.853553), (10_000, 0.5)):
        assert float(rate(step)) == pytest.approx(0.01 * share, rel=1e-5)
    assert float(rate(20_000)) == pytest.approx(0, abs=1e-9)


def test_gpipes_rate_is_a_quarter_of_imagenets():
    config = recipes.RECIPES["gpipe"]
    rate = schedules.make_schedule(config, steps_per_epoch=10)
    # 0.016 at 256 images; a stair is 24 steps, and warm-up takes 50.
    assert float(rate(25)) == pytest.approx(0.002)
    assert float(rate(50)) == pytest.approx(0.004 * 0.97**2)
    assert float(rate(24 * 7)) == pytest.approx(0.004 * 0.97**7, rel=1e-5)
    assert schedules.plan_rounds(config, 10) == (100, 10)


def test_stairs_follow_the_images_and_not_the_whole_steps_of_an_epoch():
    # 2,040 images of Flowers are 7.97 steps of 256: a stair is 19.125 steps,
    # where 2.4 times 7 are 16.8.
    config = recipes.RECIPES["gpipe"]
    rate = schedules.make_schedule(config, 2_040 / 256)
    assert rate.decay_steps == pytest.approx(19.125)
    assert schedules.plan_rounds(config, 2_040 / 256) == (100, 7)


def test_v2s_schedule_is_a_cosine_over_10_000_steps():
    config = recipes.RECIPES["v2"]
    assert schedules.plan_rounds(config, 100) == (40, 250)
    rate = schedules.make_schedule(config, 100)
    assert float(rate(50)) == pytest.approx(0.0005)
    assert float(rate(100)) == pytest.approx(0.001)
    # Half of the 9,900 steps after the warm-up.
    assert float(rate(5_050)) == pytest.approx(0.0005, rel=1e-5)
    assert float(rate(10_000)) == pytest.approx(0, abs=1e-9)


def test_steps_are_cut_into_rounds_of_about_250():
    make = recipes.FinetuneConfig
    assert schedules.plan_rounds(make(epochs=0, steps=100), 7) == (1, 100)
    assert schedules.plan_rounds(make(epochs=0, steps=1_000), 7) == (4, 250)
    assert schedules.plan_rounds(make(epochs=3), 7) == (3, 7)


# Epochs of ten steps, warm-up: the step of the peak.
SHORT = [(1, 2.0, 5), (1, 1.0, 5), (2, 5.0, 10), (3, 2.0, 15), (8, 2.0, 20)]


@pytest.mark.parametrize("epochs,warmup,peak", SHORT)
def test_a_warm_up_takes_at_most_half_of_a_short_run(epochs, warmup, peak):
    config = recipes.get_recipe(
        "full", [f"epochs={epochs}", f"warmup_epochs={warmup}"]
    )
    rate = schedules.make_schedule(config, 10)
    rates = [float(rate(step)) for step in range(10 * epochs + 1)]
    assert rates.index(max(rates)) == peak
    assert max(rates) == pytest.approx(config.learning_rate)
    assert rates[0] == 0 and rates[-1] == pytest.approx(0, abs=1e-9)
