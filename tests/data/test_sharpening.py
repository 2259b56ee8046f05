import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from efficientnet_tf.data import preprocessing, sharpening

SIZE = 64


@pytest.fixture
def image():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (16, 12, 3), dtype="uint8")


def _sharpen(image, size):
    return preprocessing.preprocess_for_eval(
        image, size, crop_padding=None, interpolation=sharpening.NAME
    ).numpy()


def test_equals_an_unsharp_mask_along_rows_and_columns(image):
    expected = tf.image.resize(image, (SIZE, SIZE), "bicubic").numpy()
    for axis in (0, 1):
        blurred = ndimage.gaussian_filter1d(
            expected, sharpening.RADIUS * SIZE, axis=axis, truncate=8
        )
        expected = expected + sharpening.AMOUNT * (expected - blurred)
    border = slice(8, -8)  # Where scipy knows no more than we do.
    np.testing.assert_allclose(
        _sharpen(image, SIZE)[border, border],
        np.clip(expected, 0, 255)[border, border],
        atol=0.05,
    )


def test_plain_areas_stay_and_edges_become_steeper():
    image = np.full((32, 32, 3), 100, "uint8")
    np.testing.assert_allclose(_sharpen(image, 160), 100, atol=1e-3)
    image[:, 16:] = 150
    plain = preprocessing.preprocess_for_eval(
        image, 160, crop_padding=None
    ).numpy()
    slopes = [
        np.diff(made[0, :, 0]).max() for made in (plain, _sharpen(image, 160))
    ]
    assert slopes[1] > 1.4 * slopes[0]
