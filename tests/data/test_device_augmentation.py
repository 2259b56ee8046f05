import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data import (
    device_augmentation,
    mixing,
    preprocessing,
    sharpening,
)

COUNT, HEIGHT, WIDTH, SIZE = 4, 30, 40, 24


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype="uint8")


# Enlarged, reduced, of one pixel, and the whole image.
BOXES = ((3, 5, 20, 11), (0, 0, 29, 38), (7, 39, 1, 1), (0, 0, HEIGHT, WIDTH))


# TensorFlow's cubic kernel is a table of 1,024 places.
ATOL = {"bilinear": 1e-3, "bicubic": 0.3, sharpening.NAME: 1.0}


@pytest.mark.parametrize("interpolation", device_augmentation.KERNELS)
def test_crops_equal_those_of_tf_image(images, interpolation):
    flips = np.array([0, 1, 0, 1], "float32")
    made = device_augmentation.crop_and_resize(
        images, np.array(BOXES, "float32"), flips, SIZE, interpolation
    )
    made = keras.ops.convert_to_numpy(made)
    for image, box, flip, crop in zip(images, BOXES, flips, made, strict=True):
        piece = tf.image.crop_to_bounding_box(image, *box)
        expected = _resize(piece, interpolation)
        if flip:
            expected = expected[:, ::-1]
        np.testing.assert_allclose(crop, expected, atol=ATOL[interpolation])


def _resize(piece, interpolation):
    if interpolation == sharpening.NAME:
        return preprocessing.preprocess_for_eval(
            piece, SIZE, interpolation=interpolation, crop_padding=None
        ).numpy()
    resized = tf.image.resize(piece, (SIZE, SIZE), interpolation)
    return np.clip(resized.numpy(), 0, 255)


def test_boxes_may_lie_between_pixels():
    ramp = np.broadcast_to(np.arange(40.0)[:, None], (40, 40))
    ramp = np.broadcast_to(ramp[None, :, :, None], (1, 40, 40, 3))
    made = device_augmentation.crop_and_resize(
        ramp.astype("uint8"),
        np.array([[10.25, 3.5, 20.0, 20.0]], "float32"),
        np.zeros(1, "float32"),
        20,
        "bilinear",
    )
    rows = keras.ops.convert_to_numpy(made)[0, 1:-1, 0, 0]
    np.testing.assert_allclose(rows, 10.25 + np.arange(1, 19), atol=1e-4)


def test_another_kernel_is_refused(images):
    with pytest.raises(ValueError, match="'area' is not one of bilinear, bic"):
        device_augmentation.crop_and_resize(
            images, np.array(BOXES, "float32"), np.zeros(4), SIZE, "area"
        )


@pytest.mark.parametrize("alphas", [(0.4, 1.0), (0.4, 0.0), (0.0, 1.0)])
def test_mixtures_equal_those_of_the_host(images, alphas):
    settings = dict(zip(("mixup_alpha", "cutmix_alpha"), alphas, strict=True))
    whole = np.array([[0, 0, HEIGHT, WIDTH]] * COUNT, "float32")
    plain = {
        "images": images,
        "boxes": whole,
        "flips": np.zeros(COUNT, "float32"),
    }
    sized = device_augmentation.augment(plain, SIZE, "bilinear")
    labels = tf.range(COUNT)
    for seed in range(8):
        expected = mixing.mix(
            tf.constant(sized), labels, (seed, 1), classes=COUNT, **settings
        )
        mixed, drawn = mixing.draw(
            labels, (seed, 1), classes=COUNT, size=SIZE, **settings
        )
        made = device_augmentation.augment({**plain, **drawn}, SIZE, "bilinear")
        np.testing.assert_allclose(made, expected[0], atol=1e-3)
        np.testing.assert_allclose(mixed, expected[1], atol=1e-6)
        assert not np.allclose(made, sized)
