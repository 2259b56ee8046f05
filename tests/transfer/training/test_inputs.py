import dataclasses
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data import shapes
from efficientnet_tf.data.sets import sources
from transfer.config import class_weights, recipes
from transfer.training import inputs

COUNT, SIDE, SIZE, BATCH = 20, 24, 40, 4
CONFIG = recipes.FinetuneConfig(min_area=0.3, seed=7)
CLASSIFIER = types.SimpleNamespace(
    preparation=shapes.make(SIZE, interpolation="bilinear", crop_padding=0),
    class_names=("a", "b", "c"),
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(
        0, 256, (COUNT, SIDE, SIDE, 3), dtype="uint8"
    )


@pytest.fixture
def examples(images):
    return sources.from_arrays(
        images, np.arange(COUNT) % 3, CLASSIFIER.class_names
    )


def _batches(feed, count=6, start_step=0):
    dataset = feed.make_dataset(BATCH, start_step=start_step)
    return [
        (batch.numpy(), labels.numpy()) for batch, labels in dataset.take(count)
    ]


def _epoch(examples, flip=False, **fields):
    """Returns images and labels of an epoch of a feed with changed fields."""
    config = dataclasses.replace(CONFIG, **fields)
    feed = inputs.Feed(examples, CLASSIFIER, config, flip=flip)
    images, labels = zip(*_batches(feed, COUNT // BATCH), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_it_goes_on_where_it_was_left(examples):
    config = dataclasses.replace(CONFIG, mixup_alpha=0.4, cutmix_alpha=1.0)
    feed = inputs.Feed(examples, CLASSIFIER, config, flip=True)
    whole, rest = _batches(feed), _batches(feed, 3, start_step=3)
    for (images, labels), (again, labels_again) in zip(
        whole[3:], rest, strict=True
    ):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)


def test_an_epoch_shows_every_image_once(examples):
    seen, _ = _epoch(examples, min_area=1.0)
    keys = {tuple(np.round(image[::9, ::9, 0]).ravel()) for image in seen}
    assert len(keys) == COUNT


def test_images_are_mirrored_only_where_that_is_the_same_class(
    examples, images
):
    whole = tf.image.resize(images, (SIZE, SIZE)).numpy()
    for flip in (False, True):
        seen, _ = _epoch(examples, flip, min_area=1.0)
        plain, mirrored = (
            sum(np.abs(each - whole).max((1, 2, 3)).min() < 0.01 for each in s)
            for s in (seen, seen[:, :, ::-1])
        )
        assert plain + mirrored == COUNT
        assert bool(mirrored) == flip


def test_random_crops_are_windows_of_the_resized_image(examples, images):
    seen, _ = _epoch(
        examples, train_crop="random", resize="squash", crop_from=48
    )
    resized = tf.image.resize(images, (48, 48)).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(
        resized, (SIZE, SIZE), axis=(1, 2)
    )
    corners = windows[..., ::13, ::13].reshape(-1, 3 * 16)
    for image in seen:
        corner = np.moveaxis(image[::13, ::13], -1, 0).ravel()
        assert np.abs(corners - corner).max(1).min() < 0.01


def test_cutout_leaves_a_grey_square(examples):
    seen, _ = _epoch(examples, cutout=0.5, min_area=1.0)
    grey = (seen == 128).all(-1).sum((1, 2))
    # A quarter of the image, or less where the edge cuts it off.
    assert grey.max() == (SIZE // 2) ** 2
    assert (grey >= (SIZE // 4) ** 2).all()


@pytest.mark.parametrize("field", ["mixup_alpha", "cutmix_alpha"])
def test_mixed_batches_have_mixed_labels(examples, field):
    _, plain = _epoch(examples)
    assert set(np.unique(plain)) == {0.0, 1.0}
    _, mixed = _epoch(examples, **{field: 1.0})
    np.testing.assert_allclose(mixed.sum(1), 1, atol=1e-6)
    assert ((mixed > 0.01) & (mixed < 0.99)).any()


def test_v2s_cutout_is_bright_noise_of_floating_point(examples):
    seen, _ = _epoch(examples, cutout=0.5, cutout_fill="noise", min_area=1.0)
    plain, _ = _epoch(examples, min_area=1.0)
    changed = (seen != plain).all(-1)
    assert changed.sum((1, 2)).max() == (SIZE // 2) ** 2
    assert seen[changed].min() >= 127.5 and seen[changed].max() < 255
    # Nothing is rounded to whole pixels on the way.
    assert (seen[~changed] % 1).any()
    np.testing.assert_array_equal(seen[~changed], plain[~changed])


def test_bits_batches_are_mixed_by_one_weight(examples):
    _, mixed = _epoch(examples, mixup_alpha=1.0, mixup_weight="batch")
    count = 0
    for batch in mixed.reshape(-1, BATCH, mixed.shape[-1]):
        # λ and 1 - λ, but where partners have the same class.
        weights = np.unique(batch.round(5))
        blended = weights[(weights > 0) & (weights < 1)]
        assert len(blended) in (0, 2)
        count += len(blended)
    assert count > COUNT // BATCH


def _unbalanced(*counts):
    labels = np.repeat(np.arange(3), counts)
    images = np.zeros((len(labels), 8, 8, 3), "uint8")
    return sources.from_arrays(images, labels, CLASSIFIER.class_names)


COUNTS = [(75, 5, 20), (4, 4, 4), (1, 0, 9)]


@pytest.mark.parametrize("counts", COUNTS)
def test_balanced_weights_are_scikit_learns(counts):
    from sklearn.utils import class_weight

    examples = _unbalanced(*counts)
    np.testing.assert_array_equal(inputs.count_classes(examples), counts)
    present = np.flatnonzero(counts)
    expected = class_weight.compute_class_weight(
        "balanced", classes=present, y=examples.read_labels()
    )
    labels = examples.read_labels()
    found = class_weights.Weighing(class_weight="auto").weigh(labels)
    np.testing.assert_allclose(
        found, expected[np.searchsorted(present, labels)], rtol=1e-6
    )


def test_each_class_has_the_same_weight_in_an_epoch():
    examples = _unbalanced(12, 2, 6)
    config = dataclasses.replace(CONFIG, class_weight="auto")
    feed = inputs.Feed(examples, CLASSIFIER, config, flip=False)
    batches = list(feed.make_dataset(BATCH).take(20 // BATCH))
    labels = np.concatenate([batch[1] for batch in batches])
    weights = np.concatenate([batch[2] for batch in batches])
    np.testing.assert_allclose(labels.T @ weights, [20 / 3] * 3, rtol=1e-5)


def test_weights_of_images_go_with_them(examples):
    own = np.arange(COUNT) + 1.0
    source = dataclasses.replace(examples.source, weights=own)
    examples = dataclasses.replace(examples, source=source)
    config = dataclasses.replace(CONFIG, class_weight="b=3")
    feed = inputs.Feed(examples, CLASSIFIER, config, flip=False)
    batches = list(feed.make_dataset(BATCH).take(COUNT // BATCH))
    labels = np.concatenate([batch[1] for batch in batches]).argmax(axis=1)
    weights = np.concatenate([batch[2] for batch in batches])
    expected = own * np.where(np.arange(COUNT) % 3 == 1, 3, 1)
    expected /= expected.mean()
    drawn = dataclasses.replace(config, sampling="balanced")
    drawn = inputs.Feed(examples, CLASSIFIER, drawn, flip=False)
    # 7 of each class, their weights as they were.
    assert drawn.size == 21
    np.testing.assert_array_equal(
        drawn._drawn.source.columns[-1], expected.astype("float32")
    )
    for label in range(3):
        np.testing.assert_allclose(
            sorted(weights[labels == label]),
            sorted(expected[np.arange(COUNT) % 3 == label]),
            rtol=1e-5,
        )


TOLD = [
    ((75, 5, 20), "none", "from 5 of 'b' to 75 of 'a': small classes .*=auto"),
    ((3, 0, 9), "none", "from 0 of 'b' to 9 of 'c'"),
    ((75, 5, 20), "auto", "75 of 'a': they count as class_weight=auto"),
    ((75, 20, 30), "none", None),
]


@pytest.mark.parametrize("counts,class_weight,message", TOLD)
def test_unbalanced_classes_are_told(counts, class_weight, message, caplog):
    with caplog.at_level("WARNING", "absl"):
        config = dataclasses.replace(CONFIG, class_weight=class_weight)
        inputs.check_balance(_unbalanced(*counts), config)
    if message is None:
        assert not caplog.text
    else:
        assert re.search(message, caplog.text)


def test_the_median_area_is_of_images_from_all_over_a_set(examples):
    assert inputs.median_area(examples) == SIDE**2
    alone = sources.from_arrays(
        np.zeros((1, 3, 5, 3), "uint8"), np.zeros(1, int), "a"
    )
    assert inputs.median_area(alone) == 15
