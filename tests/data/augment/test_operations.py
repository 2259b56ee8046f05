import pytest

from efficientnet_tf.data.augment import operations, policies

AUTOAUGMENT = policies.AUTOAUGMENT_LIMITS
RANDAUGMENT = policies.RANDAUGMENT_LIMITS

# level → argument, worked out by hand from the formulas of autoaugment.py in
# the official code: (operation, level, limits, argument).
ARGUMENTS = [
    ("AutoContrast", 7, AUTOAUGMENT, 0),
    ("Equalize", 7, AUTOAUGMENT, 0),
    ("Invert", 7, AUTOAUGMENT, 0),
    ("Rotate", 8, AUTOAUGMENT, 24),
    ("Rotate", 17, RANDAUGMENT, 51),
    ("Posterize", 2, AUTOAUGMENT, 0),
    ("Posterize", 6, AUTOAUGMENT, 2),
    ("Posterize", 20, RANDAUGMENT, 8),
    # int(2.8 * 4) is 11: the shift of 8 - 11 wraps to 253, as far as 7 goes.
    ("Posterize", 28, RANDAUGMENT, 1),
    ("Solarize", 3, AUTOAUGMENT, 76),
    # As bytes: 256, 435 and 716, less 256 once or twice.
    ("Solarize", 10, AUTOAUGMENT, 0),
    ("Solarize", 17, RANDAUGMENT, 179),
    ("Solarize", 28, RANDAUGMENT, 204),
    ("SolarizeAdd", 3, AUTOAUGMENT, 33),
    ("SolarizeAdd", 9, RANDAUGMENT, 99),
    ("Color", 0, AUTOAUGMENT, 0.1),
    ("Color", 9, AUTOAUGMENT, 1.72),
    ("Contrast", 9, RANDAUGMENT, 1.72),
    ("Brightness", 17, RANDAUGMENT, 3.16),
    ("Sharpness", 28, RANDAUGMENT, 5.14),
    ("ShearX", 9, AUTOAUGMENT, 0.27),
    ("ShearY", 8, AUTOAUGMENT, 0.24),
    ("TranslateX", 9, AUTOAUGMENT, 225),
    ("TranslateY", 9, RANDAUGMENT, 90),
    ("Cutout", 9, AUTOAUGMENT, 90),
    ("Cutout", 9, RANDAUGMENT, 36),
]


def test_every_operation_has_a_golden_argument():
    assert {row[0] for row in ARGUMENTS} == set(operations.OPERATIONS)


@pytest.mark.parametrize("name,level,limits,argument", ARGUMENTS)
def test_levels_mean_what_the_official_code_means(
    name, level, limits, argument
):
    found = operations.level_argument(name, level, limits)
    assert found == pytest.approx(argument)
