"""Images are prepared without TensorFlow as they are with it."""

import itertools

import numpy as np
import pytest

import image_files
from efficientnet_tf.data import numpy_preprocessing, preprocessing
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
@pytest.mark.parametrize("crop_padding", [32, 0, None])
def test_pixels_are_cropped_and_resized_as_by_tensorflow(
    interpolation, crop_padding
):
    assert numpy_preprocessing.can_prepare(interpolation)
    options = {"interpolation": interpolation, "crop_padding": crop_padding}
    rng = np.random.default_rng(0)
    shapes = ((150, 100), (31, 57), (64, 64), (1, 9))
    for shape, size in itertools.product(shapes, (32, 48, 100)):
        image = rng.integers(0, 256, (*shape, 3), "uint8")
        expected = preprocessing.preprocess_for_eval(image, size, **options)
        found = numpy_preprocessing.preprocess_for_eval(image, size, **options)
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, expected, 0, TOLERANCE)


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
