"""Images are prepared without TensorFlow as they are with it."""

import itertools

import numpy as np
import pytest

import image_files
from efficientnet_tf.data import (
    frames,
    numpy_preprocessing,
    preprocessing,
    shapes,
)
from efficientnet_tf.data.augment import policies
from efficientnet_tf.data.images import decoding
from efficientnet_tf.deploy import sample_files

# Those that TensorFlow decodes, and what Pillow may see otherwise in a PNG.
MADE = sample_files.make(24) | {
    name: data
    for name, data in image_files.make_pngs().items()
    if "transparency" in name or "16" in name
}
# Of levels from 0 to 255.
TOLERANCE = 2e-3


@pytest.mark.parametrize("interpolation", policies.INTERPOLATIONS)
@pytest.mark.parametrize(
    ("resize", "crop_padding"),
    [("crop", 32), ("crop", 0), ("squash", None), ("letterbox", None)],
)
def test_pixels_are_cropped_and_resized_as_by_tensorflow(
    interpolation, resize, crop_padding
):
    assert numpy_preprocessing.can_prepare(interpolation)
    rng = np.random.default_rng(0)
    sides = ((150, 100), (31, 57), (64, 64), (1, 9), (7, 1))
    sizes = (32, 100, (48, 80), (33, 20))
    for shape, size in itertools.product(sides, sizes):
        image = rng.integers(0, 256, (*shape, 3), "uint8")
        preparation = shapes.make(
            size,
            interpolation=interpolation,
            resize=resize,
            crop_padding=crop_padding,
        )
        expected = preprocessing.prepare(image, preparation)
        found = numpy_preprocessing.prepare(image, preparation)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, expected, 0, TOLERANCE)


def test_an_image_lies_where_it_does_in_graphs():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, *size = map(int, rng.integers(1, 6000, 4))
        image = np.zeros((height, width, 3), "uint8")
        for padding in (0, 32):
            preparation = shapes.make(tuple(size), crop_padding=padding)
            expected = frames.find_crop(image.shape, preparation)
            found = numpy_preprocessing.find_crop(image.shape, preparation)
            assert found == tuple(map(int, expected)), (image.shape, size)
        preparation = shapes.make(tuple(size), resize="letterbox")
        expected = frames.find_place(image.shape, preparation)
        found = numpy_preprocessing.find_place(image.shape, preparation)
        assert found == tuple(map(int, expected)), (image.shape, size)


@pytest.mark.parametrize("name", MADE)
def test_files_are_decoded_as_by_tensorflow(name):
    expected = decoding.decode_file(MADE[name], "x", "used")
    found = numpy_preprocessing.decode_file(MADE[name], "x", "used")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x is empty"),
        (b"no image", "x is not an image in a known format"),
        (MADE["a JPEG"][:-200], "x is a damaged or truncated JPEG"),
        (MADE["a PNG"][:200], "x is a damaged or truncated PNG"),
    ],
)
def test_damaged_files_are_named_as_by_tensorflow(data, message):
    for decode in (decoding.decode_file, numpy_preprocessing.decode_file):
        with pytest.raises(OSError, match=message):
            decode(data, "x", "used")


def test_other_interpolations_are_left_to_tensorflow():
    assert not numpy_preprocessing.can_prepare("lanczos3")
