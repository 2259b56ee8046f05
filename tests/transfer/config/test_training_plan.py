import pytest

from transfer.config import recipes, training_plan

PHOTO = 500 * 375
FULL = recipes.RECIPES["full"]

# Images, area, GPU, baseline: pixels, epochs, rate, head, batch norm, stages.
PLANS = [
    (100, PHOTO, False, 0.9, (160, 12, 3e-4, "linear", "frozen", 0)),
    (100, PHOTO, True, 0.9, (160, 12, 3e-4, "linear", "frozen", 0)),
    (499, PHOTO, False, 0.4, (0, 20, 2e-3, "random", "train", 0)),
    (500, PHOTO, False, 0.4, (160, 20, 2e-3, "random", "train", 0)),
    (2_040, PHOTO, False, 0.9, (160, 20, 2e-3, "linear", "train", 0)),
    (2_040, PHOTO, True, 0.9, (0, 20, 2e-3, "linear", "train", 0)),
    (50_000, PHOTO, False, 0.9, (160, 3, 2e-3, "linear", "train", 0)),
    (50_000, PHOTO, True, 0.9, (0, 20, 2e-3, "linear", "train", 0)),
    (6_000, 32**2, False, 0.7, (192, 12, 0.01, "linear", "train", 4)),
    (1_437, 8**2, False, 0.97, (64, 8, 1e-3, "linear", "frozen", 0)),
    (10, 16**2, False, 0.0, (64, 8, 1e-3, "linear", "frozen", 0)),
    (10, 17**2, False, 0.0, (0, 20, 2e-3, "random", "train", 0)),
    (500, 17**2, False, 0.0, (192, 12, 0.01, "linear", "train", 4)),
    (10, 96**2, False, 0.9, (160, 12, 3e-4, "linear", "frozen", 0)),
]


@pytest.mark.parametrize("images,area,accelerated,baseline,expected", PLANS)
def test_the_plan_goes_by_images_device_and_baseline(
    images, area, accelerated, baseline, expected
):
    plan = training_plan.plan(
        images=images,
        image_area=area,
        accelerated=accelerated,
        baseline=baseline,
    )
    found = plan.resolution, plan.epochs, plan.learning_rate, plan.head
    assert (*found, plan.batch_norm, plan.frozen_stages) == expected
    words = training_plan.describe(plan)
    assert words.startswith(
        f"{plan.epochs} epochs at {plan.resolution or 'th'}"
    )
    assert f"rate {plan.learning_rate:g}, from " in words
    assert ("linear" in words) == (plan.head == "linear")
    assert plan.train_on == FULL.train_on and plan.rule == "none"
    assert plan.warmup_epochs <= plan.epochs / 4
