import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data.augment import mixing

COUNT, SIZE = 8, 20
FUNCTIONS = (mixing.mixup, mixing.mixup_batch, mixing.cutmix)


@pytest.fixture
def batch():
    """Returns images of one value each, 0 … 7, and a class for each."""
    values = np.arange(COUNT, dtype="float32")
    images = np.broadcast_to(
        values[:, None, None, None], (COUNT, SIZE, SIZE, 3)
    )
    return tf.constant(images), tf.eye(COUNT)


def test_labels_of_mixup_say_what_the_images_hold(batch):
    for seed in range(20):
        images, labels = mixing.mixup(*batch, (seed, 1), alpha=0.5)
        images, labels = images.numpy(), labels.numpy()
        np.testing.assert_allclose(images - images[:, :1, :1, :1], 0, atol=0)
        np.testing.assert_allclose(
            labels @ np.arange(COUNT), images[:, 0, 0, 0], atol=1e-5
        )
        own = np.diag(labels)
        assert (own >= 0.5).all() and len(np.unique(own)) > 1
        others = np.diag(labels[:, ::-1])
        np.testing.assert_allclose(others, 1 - own, atol=1e-6)


def test_a_batch_shares_one_weight_of_any_size_as_in_bits_code(batch):
    # input_pipeline_tf2_or_jax.py of google-research/big_transfer: one β for
    # all, image * β + reversed * (1 - β), without a maximum.
    weights = []
    for seed in range(60):
        images, labels = mixing.mixup_batch(*batch, (seed, 1), alpha=0.1)
        (weight,) = np.unique(np.diag(labels).round(6))
        blended = weight * batch[0] + (1 - weight) * batch[0][::-1]
        np.testing.assert_allclose(images, blended, atol=1e-4)
        weights.append(weight)
    # Half of the weights are small, within four standard errors.
    assert 0.24 < np.mean(np.array(weights) < 0.5) < 0.76
    assert len(set(weights)) > 30


def test_what_has_a_weight_is_chosen_by_name(batch):
    labels = tf.range(COUNT)
    for name, function in (
        ("image", mixing.mixup),
        ("batch", mixing.mixup_batch),
    ):
        found = mixing.mix(
            batch[0],
            labels,
            (3, 1),
            classes=COUNT,
            mixup_alpha=0.5,
            mixup_weight=name,
        )
        wanted = function(*batch, (3, 1), alpha=0.5)
        for one, same in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, same)
    with pytest.raises(ValueError, match="'batches'.*Did you mean 'batch'"):
        mixing.mix(
            batch[0],
            labels,
            (3, 1),
            classes=COUNT,
            mixup_alpha=0.5,
            mixup_weight="batches",
        )


# The mean of max(λ, 1 - λ): 3/4 where λ is uniform; for alpha = 2, of density
# 6 λ (1 - λ), 11/16; 1 in the limit of zero.
SHARES = {1.0: 3 / 4, 2.0: 11 / 16, 1e-3: 1.0}


@pytest.mark.parametrize("alpha", SHARES)
def test_shares_of_mixup_follow_the_beta_distribution(alpha):
    images = tf.zeros([4000, 1, 1, 3])
    # Ones above zeros: half of the images keep their share of one.
    labels = tf.cast(tf.range(4000) < 2000, "float32")[:, None]
    _, mixed = mixing.mixup(images, labels, (1, 2), alpha=alpha)
    # Four standard errors: the deviation is below 0.15.
    mean = mixed[:2000].numpy().mean()
    np.testing.assert_allclose(mean, SHARES[alpha], atol=0.013)


def test_labels_of_cutmix_are_the_area_of_the_box(batch):
    areas = []
    for seed in range(200):
        images, labels = mixing.cutmix(*batch, (seed, 1), alpha=1.0)
        images, labels = images.numpy(), labels.numpy()
        pasted = images != np.arange(COUNT)[:, None, None, None]
        assert (pasted == pasted[:1, :, :, :1]).all()
        others = np.broadcast_to(batch[0][::-1], images.shape)
        np.testing.assert_array_equal(images[pasted], others[pasted])
        rows, columns = pasted[0, :, :, 0].any(1), pasted[0, :, :, 0].any(0)
        for line in (rows, columns):  # A box: no gaps.
            assert np.abs(np.diff(line.astype(int))).sum() <= 2
        assert pasted[0].mean() == pytest.approx(rows.mean() * columns.mean())
        areas.append(pasted[0].mean())
        np.testing.assert_allclose(np.diag(labels), 1 - areas[-1], atol=1e-6)
        np.testing.assert_allclose(np.diag(labels[::-1]), areas[-1], atol=1e-6)
    # Before edges cut it off, the area is uniform.
    assert min(areas) < 0.05 and max(areas) > 0.7
    assert 0.25 < np.mean(areas) < 0.45


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_seed_repeats_a_mixture_eagerly_and_inside_a_dataset(
    function, batch
):
    seeds = tf.constant([(seed, 4) for seed in range(10)])
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    dataset = dataset.map(lambda seed: function(*batch, seed, alpha=0.4))
    found = []
    for seed, mapped in zip(seeds, dataset, strict=True):
        eager = function(*batch, seed, alpha=0.4)
        for one, same in zip(eager, mapped, strict=True):
            np.testing.assert_array_equal(one, same)
        found.append(eager[1].numpy().tobytes())
    assert len(set(found)) >= 8  # Two tiny boxes may be alike.


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_types_stay(function, dtype, batch):
    images, labels = function(
        tf.cast(batch[0], dtype), batch[1], (1, 2), alpha=0.3
    )
    assert images.dtype == dtype and labels.dtype == "float32"
    assert images.shape == (COUNT, SIZE, SIZE, 3)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_alpha_of_zero_leaves_the_batch(function, batch):
    found = function(*batch, (1, 2), alpha=0)
    for one, same in zip(found, batch, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nonsense_is_refused(function, batch):
    images, labels = batch
    with pytest.raises(ValueError, match="alpha=-1 must be at least 0"):
        function(images, labels, (1, 2), alpha=-1)
    with pytest.raises(ValueError, match="images is uint8"):
        function(tf.cast(images, "uint8"), labels, (1, 2), alpha=1)
    with pytest.raises(ValueError, match="one_hot is int32"):
        function(images, tf.range(COUNT), (1, 2), alpha=1)


def test_a_coin_decides_between_both_and_zero_is_neither():
    images = tf.reshape(tf.range(4 * 8 * 8 * 3, dtype="float32"), [4, 8, 8, 3])
    labels = tf.constant([0, 1, 2, 0])
    one_hot = tf.one_hot(labels, 3)
    ways = {"mixup": 0, "cutmix": 0}
    for number in range(40):
        seed = [number, 1]
        mixed, targets = mixing.mix(
            images, labels, seed, classes=3, mixup_alpha=0.5, cutmix_alpha=1.0
        )
        expected = {
            "mixup": mixing.mixup(images, one_hot, seed, alpha=0.5),
            "cutmix": mixing.cutmix(images, one_hot, seed, alpha=1.0),
        }
        same = [
            name
            for name, (pixels, rows) in expected.items()
            if np.array_equal(mixed, pixels) and np.array_equal(targets, rows)
        ]
        assert same
        ways[same[0]] += 1
    assert min(ways.values()) > 8
    plain, targets = mixing.mix(images, labels, [0, 1], classes=3)
    np.testing.assert_array_equal(plain, images)
    np.testing.assert_array_equal(targets, one_hot)
