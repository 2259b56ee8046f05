import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data.augment import (
    augmentation,
    image_ops,
    operations,
    policies,
)

AUTOAUGMENT = policies.AUTOAUGMENT_LIMITS
RANDAUGMENT = policies.RANDAUGMENT_LIMITS


@pytest.fixture(scope="module")
def image():
    """Returns noise on slopes, which each operation changes in its own way."""
    y, x = np.mgrid[:32, :28]
    slopes = np.stack([30 + 5 * y, 20 + 7 * x, 40 + 3 * (x + y)], axis=-1)
    noise = np.random.default_rng(0).integers(0, 20, slopes.shape)
    return tf.constant((slopes + noise).astype("uint8"))


def _map(function, image, count):
    """Returns images for the seeds (0, 5), (1, 5), …, made inside a dataset."""
    seeds = [(i, 5) for i in range(count)]
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    dataset = dataset.map(lambda seed: function(image, seed))
    return [found.numpy() for found in dataset]


POLICIES = {
    "autoaugment": augmentation.autoaugment,
    "randaugment": lambda image, seed: augmentation.randaugment(
        image, seed, layers=2, magnitude=9
    ),
    "augmix": augmentation.augmix,
    "random_erasing": lambda image, seed: augmentation.random_erasing(
        image, seed, probability=0.9
    ),
}


@pytest.mark.parametrize("fill", policies.CUTOUT_FILLS)
def test_cutout_fills_one_square_wherever_its_centre_is(fill):
    image = tf.fill(
        (32, 32, 3), -7.25
    )  # As legacy bicubic resizing overshoots.
    corners, values = set(), []
    for cut in _map(
        lambda x, seed: augmentation.cutout(x, seed, half_side=8.9, fill=fill),
        image,
        20,
    ):
        rows, columns = np.nonzero(cut[..., 0] > 0)
        box = cut[
            rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
        ]
        assert (cut == -7.25).sum() == cut.size - box.size
        # At a corner a quarter of the 16 x 16 is left.
        assert 8 * 8 <= box[..., 0].size <= 16 * 16
        corners.add((rows.min(), columns.min()))
        values.append(box.ravel())
    assert len(corners) > 10
    values = np.concatenate(values)
    if fill == "grey":
        assert (values == 128).all()
    else:
        # preprocess_for_finetune of google/automl: uniform [0, 1) where pixels
        # are (x / 255 - 0.5) / 0.5; four standard errors of the mean.
        assert values.min() >= 127.5 and values.max() < 255
        error = 127.5 / np.sqrt(12 * values.size)
        assert abs(values.mean() - 191.25) < 4 * error


def test_the_seed_repeats_a_cutout_and_its_noise():
    image = tf.zeros((32, 32, 3))
    found = [
        augmentation.cutout(image, seed, half_side=6, fill="noise").numpy()
        for seed in ((1, 2), (1, 2), (2, 2))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


def test_an_unknown_fill_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="'gray'.*Did you mean 'grey'"):
        augmentation.cutout(
            tf.zeros((8, 8, 3)), (1, 2), half_side=2, fill="gray"
        )


def test_the_policy_has_25_pairs():
    pairs = policies.AUTOAUGMENT_POLICY
    assert len(pairs) == 25 and all(len(pair) == 2 for pair in pairs)
    for name, probability, level in itertools.chain(*pairs):
        assert name in operations.OPERATIONS
        assert 0 <= probability <= 1 and 0 <= level <= 10


@pytest.mark.parametrize("name", POLICIES)
def test_the_seed_repeats_an_image_eagerly_and_inside_a_dataset(name, image):
    function = POLICIES[name]
    mapped = _map(function, image, 12)
    again = _map(function, image, 12)
    for i, (one, same) in enumerate(zip(mapped, again, strict=True)):
        np.testing.assert_array_equal(one, same)
        eager = function(image, (i, 5))
        assert eager.dtype == "uint8" and eager.shape == image.shape
        np.testing.assert_array_equal(one, eager)
    assert len({found.tobytes() for found in mapped}) >= 8


@pytest.mark.parametrize("name", POLICIES)
def test_any_shape_does(name):
    function = POLICIES[name]
    signature = [
        tf.TensorSpec([None, None, 3], "uint8"),
        tf.TensorSpec([2], "int64"),
    ]
    graph = tf.function(function, input_signature=signature, autograph=False)
    for shape in ((1, 1, 3), (3, 70, 3), (64, 5, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, "uint8")
        for seed in range(4):
            seed = tf.constant([seed, 1], "int64")
            assert graph(tf.constant(image), seed).shape == shape


def _outcomes(image, name, argument):
    """Returns [(result, probability)] of one applied operation."""
    row = operations.OPERATIONS[name]
    if row.argument is None:
        return [(row.function(image), 1.0)]
    signs = (1.0, -1.0) if row.matrix else (1.0,)
    return [
        (row.function(image, sign * argument), 1 / len(signs)) for sign in signs
    ]


def _steps(outcomes, name, probability, argument):
    """Returns [(image, probability)] after one step of a policy."""
    found = []
    for image, weight in outcomes:
        found.append((image, weight * (1 - probability)))
        for result, share in _outcomes(image, name, argument):
            found.append((result, weight * probability * share))
    return found


def _assert_frequencies(images, expected):
    """Applies Pearson's test to {bytes of an image: probability}."""
    counts = collections.Counter(found.tobytes() for found in images)
    assert set(counts) <= set(expected)
    common = {k: p * len(images) for k, p in expected.items()}
    common = {k: count for k, count in common.items() if count >= 4}
    assert len(common) > 10
    distance = sum((counts[k] - e) ** 2 / e for k, e in common.items())
    freedom = len(common) - 1
    # Four standard deviations of chi squared.
    assert distance < freedom + 4 * np.sqrt(2 * freedom)


def test_autoaugment_gives_what_its_pairs_give_as_often_as_they_do(image):
    expected = collections.Counter()
    for pair in policies.AUTOAUGMENT_POLICY:
        outcomes = [(image, 1 / 25)]
        for name, probability, level in pair:
            argument = operations.level_argument(name, level, AUTOAUGMENT)
            outcomes = _steps(outcomes, name, probability, argument)
        for result, weight in outcomes:
            expected[result.numpy().tobytes()] += weight
    assert sum(expected.values()) == pytest.approx(1)
    images = _map(augmentation.autoaugment, image, 2000)
    _assert_frequencies(images, {k: p for k, p in expected.items() if p})


def test_randaugment_gives_each_operation_as_often(image):
    expected = collections.Counter()
    for name in operations.OPERATIONS:
        if name == "Cutout":  # At a place of its own each time.
            continue
        argument = operations.level_argument(name, 2, RANDAUGMENT)
        for result, weight in _outcomes(image, name, argument):
            expected[result.numpy().tobytes()] += weight / 16
    images = _map(
        lambda x, seed: augmentation.randaugment(
            x, seed, layers=1, magnitude=2
        ),
        image,
        800,
    )
    known = [found for found in images if found.tobytes() in expected]
    # Four standard deviations around 1 / 16.
    assert 23 <= len(images) - len(known) <= 77
    known_expected = {k: p * 16 / 15 for k, p in expected.items()}
    _assert_frequencies(known, known_expected)


def test_cutouts_of_randaugment_are_anywhere(monkeypatch):
    rows = {"Cutout": operations.OPERATIONS["Cutout"]}
    monkeypatch.setattr(operations, "OPERATIONS", rows)
    images = _map(
        lambda x, seed: augmentation.randaugment(
            x, seed, layers=1, magnitude=2
        ),
        tf.zeros([64, 64, 3], "uint8"),
        300,
    )
    # Half a side is int(2 / 10 * 40) = 8; the square is whole for (49 / 64)² of
    # the centres, 0.586 ± 4 · 0.028.
    sizes = np.array([(found == 128).mean() * 64 * 64 for found in images])
    assert sizes.max() == 256 and 0.47 < (sizes == 256).mean() < 0.7
    share = np.mean([found == 128 for found in images], axis=(0, 3))
    for quarter in (share[:32, :32], share[32:, 32:]):
        assert quarter.mean() == pytest.approx(share.mean(), rel=0.35)


def test_two_layers_are_two_operations(image, monkeypatch):
    rows = {
        name: operations.OPERATIONS[name] for name in ("Invert", "Equalize")
    }
    monkeypatch.setattr(operations, "OPERATIONS", rows)
    images = _map(
        lambda x, seed: augmentation.randaugment(
            x, seed, layers=2, magnitude=9
        ),
        image,
        40,
    )
    expected = {
        second.function(first.function(image)).numpy().tobytes()
        for first in rows.values()
        for second in rows.values()
    }
    assert {found.tobytes() for found in images} == expected


# Magnitude, noise → mean and standard deviation of what a normal distribution
# clipped to [0, 10], or to [0, magnitude], has; that of 9 ± 0.5 is hardly cut.
NOISE = [(9, 0.5, 8.99, 0.48), (5, 0.5, 5.0, 0.5), (12, 4, 10.4, 2.34)]


@pytest.mark.parametrize(("magnitude", "noise", "mean", "spread"), NOISE)
def test_noise_gives_each_image_a_level_around_the_magnitude(
    magnitude, noise, mean, spread, monkeypatch
):
    seen = operations.Operation(
        # A level is read back from its shade.
        lambda image, level: image + tf.cast(tf.round(level * 20), "uint8"),
        lambda share, _: share * policies.MAX_LEVEL,
    )
    monkeypatch.setattr(operations, "OPERATIONS", {"Seen": seen})
    images = _map(
        lambda x, seed: augmentation.randaugment(
            x, seed, layers=1, magnitude=magnitude, noise=noise
        ),
        tf.zeros([1, 1, 3], "uint8"),
        600,
    )
    levels = np.array([found[0, 0, 0] for found in images]) / 20
    # Four standard deviations of the mean.
    assert levels.mean() == pytest.approx(mean, abs=4 * spread / 600**0.5)
    assert levels.std() == pytest.approx(spread, rel=0.15)
    assert levels.max() <= max(10, magnitude) and levels.min() >= 0


def test_a_probability_leaves_out_layers(monkeypatch):
    rows = {"Invert": operations.OPERATIONS["Invert"]}
    monkeypatch.setattr(operations, "OPERATIONS", rows)
    images = _map(
        lambda x, seed: augmentation.randaugment(
            x, seed, layers=1, magnitude=9, probability=0.25
        ),
        tf.zeros([1, 1, 3], "uint8"),
        600,
    )
    # Four standard deviations, of 0.018.
    share = np.mean([found[0, 0, 0] == 255 for found in images])
    assert share == pytest.approx(0.25, abs=0.07)


def test_no_layers_leave_the_image(image):
    found = augmentation.randaugment(image, (1, 2), layers=0, magnitude=9)
    np.testing.assert_array_equal(found, image)


def test_augmix_is_a_weighted_sum_of_chains(image):
    # A huge alpha makes both weights one half; of the chains of one operation
    # those that have no level are known.
    images = _map(
        lambda x, seed: augmentation.augmix(
            x, seed, width=1, depth=1, alpha=1e6
        ),
        image,
        80,
    )
    original = image.numpy().astype(float)
    for function in (image_ops.equalize, image_ops.autocontrast):
        half = (original + function(image).numpy()) / 2
        near = [np.abs(found - half).max() <= 1 for found in images]
        assert 2 <= sum(near) <= 22  # One in nine: 8.9 ± 4 · 2.8, and above 0.


def test_augmix_with_more_severity_is_further_from_the_image(image):
    distances = []
    for severity in (0.2, 10):
        images = _map(
            lambda x, seed, severity=severity: augmentation.augmix(
                x, seed, severity=severity
            ),
            image,
            40,
        )
        original = image.numpy().astype(float)
        distances.append(np.mean([np.abs(y - original) for y in images]))
    assert 0 < distances[0] < 0.7 * distances[1]


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_random_erasing_replaces_boxes_by_noise(probability):
    grey = tf.fill([60, 50, 3], tf.constant(7, "uint8"))
    images = _map(
        lambda x, seed: augmentation.random_erasing(
            x, seed, probability=probability
        ),
        grey,
        200,
    )
    # One value in 256 of the noise is 7, so a pixel differs somewhere.
    erased = [(found != 7).any(axis=-1) for found in images]
    share = np.mean([mask.any() for mask in erased])
    assert abs(share - probability) <= 0.13 * (0 < probability < 1)
    for found, mask in zip(images, erased, strict=True):
        if not mask.any():
            continue
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask[np.ix_(rows, columns)].all()
        for line in (rows, columns):  # No gaps.
            assert np.abs(np.diff(line.astype(int))).sum() <= 2
        height, width = rows.sum(), columns.sum()
        # Rounding of two sides, and what the image is too narrow for.
        assert 0.015 < height * width / (60 * 50) < 0.44
        assert 0.25 < height / width < 4
        noise = found[mask]
        # Uniform in 0 … 255: four standard errors of the mean.
        assert abs(noise.mean() - 127.5) < 4 * 73.9 / np.sqrt(noise.size)


NONSENSE = [
    ("randaugment", {"layers": -1, "magnitude": 9}, "layers is -1"),
    ("randaugment", {"layers": 2, "magnitude": 31}, "magnitude is 31"),
    ("randaugment", {"layers": 2, "magnitude": -1}, "magnitude is -1"),
    ("randaugment", {"layers": 2, "magnitude": 9, "noise": -1}, "noise is -1"),
    (
        "randaugment",
        {"layers": 2, "magnitude": 9, "probability": 1.5},
        "probability is 1.5",
    ),
    ("augmix", {"severity": 0}, "severity is 0"),
    ("random_erasing", {"probability": 1.5}, "probability is 1.5"),
]


@pytest.mark.parametrize("name,options,message", NONSENSE)
def test_nonsense_is_refused(name, options, message, image):
    with pytest.raises(ValueError, match=message):
        getattr(augmentation, name)(image, (1, 2), **options)
