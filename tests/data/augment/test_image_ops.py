import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from efficientnet_tf.data.augment import image_ops

GREY = (128, 128, 128)
FACTORS = (0.0, 0.1, 0.46, 1.0, 1.36, 1.9, 5.5)


def _noise(height, width, low=0, high=256):
    random = np.random.default_rng(height + width)
    return random.integers(low, high, (height, width, 3), dtype=np.uint8)


def _slopes(height, width):
    """Returns a smooth image with a different range in each channel."""
    y, x = np.mgrid[:height, :width]
    channels = 40 + 100 * y / height, 20 + 230 * x / width, (x * y) % 97
    return np.stack(channels, axis=-1).astype(np.uint8)


IMAGES = {
    "noise": _noise(41, 32),
    "wide": _noise(9, 50, 60, 190),
    "slopes": _slopes(48, 40),
    "plain": np.full((12, 10, 3), 77, np.uint8),
    "two values": np.uint8(30) + _noise(20, 20, 0, 2) * np.uint8(200),
    "white": np.full((8, 8, 3), 255, np.uint8),
    "black": np.zeros((8, 8, 3), np.uint8),
}


def _affine(image, matrix):
    """Pillow's transform, with coordinates of pixel centres, not corners."""
    a, b, c, d, e, f = matrix
    matrix = (a, b, c + (1 - a - b) / 2, d, e, f + (1 - d - e) / 2)
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.NEAREST,
        fillcolor=GREY,
    )


def _enhance(kind):
    return lambda image, factor: kind(image).enhance(factor)


# The official code where it differs from Pillow: autoaugment.py, in NumPy.


def _blend(degenerate, image, factor):
    degenerate, image = np.float32(degenerate), np.float32(image)
    mixed = degenerate + np.float32(factor) * (image - degenerate)
    return np.clip(mixed, 0, 255).astype("uint8")


def _autocontrast(image):
    low, high = np.float32(image.min((0, 1))), np.float32(image.max((0, 1)))
    scale = np.float32(255) / np.maximum(high - low, 1)
    found = np.clip(image.astype("float32") * scale - low * scale, 0, 255)
    return np.where(high > low, found, image).astype("uint8")


def _color(image, factor):
    return _blend(tf.image.rgb_to_grayscale(image), image, factor)


def _contrast(image, factor):
    height, width, _ = image.shape
    return _blend(min(height * width // 256, 255), image, factor)


SAME_AS_OFFICIAL = {
    "autocontrast": (_autocontrast, [()]),
    "color": (_color, [(f,) for f in FACTORS]),
    "contrast": (_contrast, [(f,) for f in FACTORS]),
}

# {our function: (the same in Pillow, arguments)}.
SAME_AS_PILLOW = {
    "equalize": (ImageOps.equalize, [()]),
    "invert": (ImageOps.invert, [()]),
    "posterize": (ImageOps.posterize, [(bits,) for bits in range(1, 9)]),
    "solarize": (
        ImageOps.solarize,
        [(threshold,) for threshold in (0, 1, 51, 128, 230, 255, 256, 435)],
    ),
    "brightness": (_enhance(ImageEnhance.Brightness), [(f,) for f in FACTORS]),
}

# {our function: (its matrix in Pillow, arguments)}; round slopes would put many
# places half way between two pixels.
AFFINE = {
    "shear_x": (lambda s: (1, s, 0, 0, 1, 0), (0.0, 0.2713, -0.1487, 0.9077)),
    "shear_y": (lambda s: (1, 0, 0, s, 1, 0), (0.0, 0.2713, -0.1487, 0.9077)),
    "translate_x": (lambda p: (1, 0, p, 0, 1, 0), (0.0, 3.0, -7.0, 225.0)),
    "translate_y": (lambda p: (1, 0, 0, 0, 1, p), (0.0, 3.0, -7.0, 225.0)),
}


def _run_in_dataset(function, image, arguments):
    arguments = tuple(tf.constant(float(value)) for value in arguments)
    dataset = tf.data.Dataset.from_tensors((image, *arguments))
    return next(iter(dataset.map(function))).numpy()


@pytest.mark.parametrize("name", SAME_AS_PILLOW)
def test_values_are_pillows_eagerly_and_inside_a_dataset(name):
    ours = getattr(image_ops, name)
    pillows, rows = SAME_AS_PILLOW[name]
    for label, image in IMAGES.items():
        for arguments in rows:
            expected = np.asarray(pillows(Image.fromarray(image), *arguments))
            found = ours(tf.constant(image), *arguments)
            assert found.dtype == "uint8"
            np.testing.assert_array_equal(
                found, expected, err_msg=f"{label} {arguments}"
            )
        # The last row: building a dataset takes long.
        found = _run_in_dataset(ours, image, arguments)
        np.testing.assert_array_equal(found, expected, err_msg=label)


@pytest.mark.parametrize("name", SAME_AS_OFFICIAL)
def test_values_are_the_official_codes_where_pillow_has_others(name):
    ours = getattr(image_ops, name)
    official, rows = SAME_AS_OFFICIAL[name]
    for label, image in IMAGES.items():
        for arguments in rows:
            np.testing.assert_array_equal(
                ours(tf.constant(image), *arguments),
                official(image, *arguments),
                err_msg=f"{label} {arguments}",
            )
        found = _run_in_dataset(ours, image, arguments)
        np.testing.assert_array_equal(found, official(image, *arguments))


def test_a_large_image_loses_contrast_towards_white_and_a_small_one_to_grey():
    # H * W / 256: 196 at 224 pixels, 16 at 64, and no more than 255.
    for side, grey in ((224, 196), (64, 16), (300, 255)):
        image = tf.zeros([side, side, 3], "uint8")
        assert (image_ops.contrast(image, 0.0).numpy() == grey).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_sharpness_blends_with_the_truncated_smooth_image(factor):
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])
    for label in ("noise", "wide", "slopes", "plain"):
        image = IMAGES[label].astype(int)
        smooth = image.copy()
        windows = np.lib.stride_tricks.sliding_window_view(
            image, (3, 3), axis=(0, 1)
        )
        # In integers: the official code's convolution in float32 ends below
        # some whole numbers, which costs a level in 0.4 % of the values.
        smooth[1:-1, 1:-1] = (windows * kernel).sum((-2, -1)) // 13
        np.testing.assert_array_equal(
            image_ops.sharpness(tf.constant(IMAGES[label]), factor),
            _blend(smooth, image, factor),
            err_msg=label,
        )


@pytest.mark.parametrize("name", AFFINE)
def test_moves_are_pillows_eagerly_and_inside_a_dataset(name):
    ours = getattr(image_ops, name)
    matrix, values = AFFINE[name]
    for image in (IMAGES["noise"], IMAGES["slopes"]):
        for value in values:
            expected = _affine(Image.fromarray(image), matrix(value))
            for found in (
                ours(tf.constant(image), value),
                _run_in_dataset(ours, image, [value]),
            ):
                _assert_moved_alike(found, expected)


@pytest.mark.parametrize("degrees", [0, 24, -30, 90, 180])
def test_rotation_is_pillows_about_the_centre(degrees):
    # Both sides odd, so that a quarter turn takes pixels to pixels.
    image = _noise(41, 33)
    expected = Image.fromarray(image).rotate(degrees, fillcolor=GREY)
    for found in (
        image_ops.rotate(tf.constant(image), degrees),
        _run_in_dataset(image_ops.rotate, image, [degrees]),
    ):
        _assert_moved_alike(found, expected)


def _assert_moved_alike(found, expected):
    # Pillow works out places in 1 / 65536 of a pixel, TensorFlow in float32:
    # either may be taken of two pixels that are as near as that.
    differ = (np.asarray(found) != np.asarray(expected)).any(axis=-1)
    assert differ.mean() <= 0.002


def test_a_rotation_follows_its_definition():
    image = _noise(21, 33)
    radians = math.radians(17)
    y, x = np.mgrid[:21, :33] - np.array([10, 16])[:, None, None]
    from_x = np.cos(radians) * x - np.sin(radians) * y + 16
    from_y = np.sin(radians) * x + np.cos(radians) * y + 10
    at_x, at_y = np.rint(from_x).astype(int), np.rint(from_y).astype(int)
    inside = (at_x >= 0) & (at_x < 33) & (at_y >= 0) & (at_y < 21)
    expected = image[at_y.clip(0, 20), at_x.clip(0, 32)]
    expected[~inside] = 128
    assert 0 < inside.mean() < 1
    found = image_ops.rotate(tf.constant(image), 17)
    np.testing.assert_array_equal(found, expected)


def test_every_byte_survives_a_move():
    values = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    values[0, 0] = 255
    found = image_ops.translate_x(tf.constant(values), 1).numpy()
    np.testing.assert_array_equal(found[:, :-1], values[:, 1:])
    assert (found[:, -1] == 128).all()


def test_zero_bits_leave_one():
    # The shift of TensorFlow is at most the width of the type less one.
    image = tf.constant(IMAGES["noise"])
    shift = tf.constant(8, "uint8")
    official = tf.bitwise.left_shift(
        tf.bitwise.right_shift(image, shift), shift
    )
    for bits in (0, -3):
        np.testing.assert_array_equal(
            image_ops.posterize(image, bits), official
        )


@pytest.mark.parametrize("addition", [0, 33, 77, 110, 187])
def test_solarize_add_brightens_what_is_below_128(addition):
    image = IMAGES["noise"]
    whole = image.astype(int)
    expected = np.where(whole < 128, np.minimum(whole + addition, 255), whole)
    for found in (
        image_ops.solarize_add(tf.constant(image), addition),
        _run_in_dataset(image_ops.solarize_add, image, [addition]),
    ):
        np.testing.assert_array_equal(found, expected)


# Row and column of the centre as shares, half a side; top, bottom, left, right.
CUTOUTS = [
    ((0.5, 0.5), 5, (15, 25, 11, 21)),
    ((0.0, 0.0), 4, (0, 4, 0, 4)),
    ((0.99, 0.5), 8, (32, 41, 8, 24)),
    ((0.3, 0.9), 100, (0, 41, 0, 32)),
    ((0.3, 0.9), 0, (0, 0, 0, 0)),
]


@pytest.mark.parametrize("center,half,box", CUTOUTS)
def test_cutout_greys_a_square_within_the_image(center, half, box):
    image = IMAGES["noise"]
    expected = image.copy()
    top, bottom, left, right = box
    expected[top:bottom, left:right] = 128
    found = image_ops.cutout(tf.constant(image), half, tf.constant(center))
    np.testing.assert_array_equal(found, expected)


def test_shapes_unknown_to_the_graph_stay_those_of_the_image():
    image = IMAGES["wide"]
    functions = [
        image_ops.autocontrast,
        image_ops.equalize,
        lambda x: image_ops.color(x, 0.5),
        lambda x: image_ops.sharpness(x, 0.5),
        lambda x: image_ops.rotate(x, 10),
        lambda x: image_ops.cutout(x, 3, tf.constant([0.5, 0.5])),
    ]
    signature = [tf.TensorSpec([None, None, 3], "uint8")]
    for function in functions:
        graph = tf.function(
            function, input_signature=signature, autograph=False
        )
        np.testing.assert_array_equal(graph(image), function(image))
