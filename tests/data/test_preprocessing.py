import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from efficientnet_tf.data import numpy_preprocessing, preprocessing, shapes
from efficientnet_tf.data.augment import policies
from efficientnet_tf.data.images import decoding
from efficientnet_tf.models import variants


@pytest.fixture
def noise():
    return np.random.default_rng(0)


def _image(noise, height, width):
    return noise.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# preprocessing.py of the official code, by hand: the side is
# int(min(height, width) * size / (size + 32)), a margin is
# (extent - side + 1) // 2.
CROPS = [
    # height, width, size, top, left, side
    (256, 256, 224, 16, 16, 224),
    (480, 640, 224, 30, 110, 420),
    (375, 500, 224, 24, 86, 328),
    (333, 500, 300, 17, 100, 300),
    (500, 100, 64, 217, 17, 66),
    (31, 20, 32, 11, 5, 10),
    (1, 1, 32, 0, 0, 1),
    (2, 1, 600, 1, 0, 1),
]


@pytest.mark.parametrize("height,width,size,top,left,side", CROPS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_takes_the_official_crop(
    noise, height, width, size, top, left, side, interpolation
):
    image = _image(noise, height, width)
    found = preprocessing.preprocess_for_eval(
        image, size, interpolation=interpolation
    )
    crop = image[top : top + side, left : left + side]
    expected = tf.image.resize(crop, (size, size), interpolation)
    np.testing.assert_array_equal(found, np.clip(expected, 0, 255))
    assert found.dtype == "float32"


@pytest.mark.parametrize("interpolation", variants.INTERPOLATIONS)
def test_every_interpolation_of_a_variant_keeps_a_uniform_image(interpolation):
    image = np.full((9, 9, 3), 77, np.uint8)
    found = preprocessing.preprocess_for_eval(
        image, 20, crop_padding=0, interpolation=interpolation
    )
    np.testing.assert_allclose(found, np.full((20, 20, 3), 77), atol=1e-3)


@pytest.mark.parametrize(
    "interpolation",
    [policies.SHARPENED, policies.LEGACY_BILINEAR, policies.LEGACY_BICUBIC],
)
def test_a_variant_may_have_interpolations_of_our_own(interpolation):
    assert interpolation in variants.INTERPOLATIONS


def _cubic_taps(distance):
    """Keys' cubic convolution with the parameter -0.75, as in TensorFlow 1."""
    a, x = -0.75, np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _legacy_bicubic(image, size):
    """resize_bicubic of TensorFlow 1 from its definition, in float64."""
    for axis in (0, 1):
        length = image.shape[axis]
        places = np.arange(size) * (length / size)  # From the corner.
        below = np.floor(places).astype(int)
        taps = below[:, None] + np.arange(-1, 3)
        weights = _cubic_taps(places[:, None] - taps)
        # The kernel is looked up at multiples of 1 / 1024.
        offsets = np.rint((places - below) * 1024) / 1024
        weights = _cubic_taps(offsets[:, None] + 1 - np.arange(4))
        rows = np.take(image, taps.clip(0, length - 1), axis=axis)
        image = np.moveaxis(
            np.einsum(
                "st,st...->s...",
                weights,
                np.moveaxis(rows, (axis, axis + 1), (0, 1)),
            ),
            0,
            axis,
        )
    return image


# preprocessing.py of the official code calls tf.image.resize_bicubic, and for
# Lite tf.image.resize with its bilinear method, of TensorFlow 1.
@pytest.mark.parametrize("shape", [(37, 37), (64, 64), (91, 91), (20, 20)])
def test_legacy_resizing_is_tensorflow_1s(noise, shape):
    image, size = _image(noise, *shape), 64
    cubic, linear = (
        preprocessing.preprocess_for_eval(
            image, size, crop_padding=0, interpolation=kind
        )
        for kind in (policies.LEGACY_BICUBIC, policies.LEGACY_BILINEAR)
    )
    by_hand = _legacy_bicubic(image.astype(float), size)
    np.testing.assert_allclose(cubic, by_hand, atol=0.01)
    resize = tf.compat.v1.image.resize
    for found, method in ((cubic, "bicubic"), (linear, "bilinear")):
        np.testing.assert_array_equal(
            found, resize(image, (size, size), method)
        )


def test_legacy_bicubic_keeps_its_overshoot_but_not_in_bytes(noise):
    image = (_image(noise, 9, 9) > 127) * np.uint8(255)
    options = {"interpolation": policies.LEGACY_BICUBIC, "seed": (1, 2)}
    plain = preprocessing.preprocess_for_train(image, 32, **options)
    assert plain.numpy().min() < 0 and plain.numpy().max() > 255
    found = preprocessing.preprocess_for_train(
        image, 32, augment=lambda x, _: x, **options
    )
    np.testing.assert_array_equal(found, np.floor(np.clip(plain, 0, 255)))


def test_images_are_mirrored_after_legacy_resizing(noise):
    # Mirrored before, they would be another image: it is not symmetric.
    image = _image(noise, 41, 41)
    options = {"min_area": 1, "interpolation": policies.LEGACY_BICUBIC}
    plain = preprocessing.preprocess_for_train(image, 32, flip=False, **options)
    mirrored = 0
    for i in range(20):
        found = preprocessing.preprocess_for_train(
            image, 32, seed=(i, 0), **options
        )
        sides = [
            np.array_equal(found, plain),
            np.array_equal(found[:, ::-1], plain),
        ]
        assert sum(sides) == 1
        mirrored += sides[1]
    assert 0 < mirrored < 20


def test_without_padding_the_whole_square_is_kept(noise):
    image = _image(noise, 30, 20)
    found = preprocessing.preprocess_for_eval(image, 20, crop_padding=0)
    np.testing.assert_allclose(found, image[5:25], atol=1e-4)


def test_without_a_crop_the_whole_image_is_kept():
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 200
    found = preprocessing.preprocess_for_eval(
        image, 2, crop_padding=None, interpolation="nearest"
    )
    np.testing.assert_array_equal(found[..., 0], [[0, 200], [0, 200]])


def test_bilinear_is_between_pixel_centres_and_bicubic_is_another():
    image = np.array([0, 100], np.uint8).reshape(1, 2, 1).repeat(2, 0)
    image = image.repeat(3, 2)
    options = {"size": 4, "crop_padding": 0}
    linear, cubic = (
        preprocessing.preprocess_for_eval(image, interpolation=kind, **options)
        for kind in ("bilinear", "bicubic")
    )
    np.testing.assert_allclose(linear[0, :, 0], [0, 25, 75, 100], atol=1e-4)
    assert np.abs(linear - cubic).max() > 1


def test_bicubic_does_not_leave_the_range_of_pixels(noise):
    image = (_image(noise, 9, 9) > 127) * np.uint8(255)
    raw = tf.image.resize(image, (32, 32), "bicubic")
    assert raw.numpy().min() < 0 and raw.numpy().max() > 255
    for function in (
        preprocessing.preprocess_for_eval,
        preprocessing.preprocess_for_train,
    ):
        found = function(image, 32).numpy()
        assert found.min() >= 0 and found.max() <= 255


def test_bytes_give_what_pixels_give(noise):
    image = _image(noise, 50, 70)
    encoded = tf.io.encode_png(image)
    for function, options in (
        (preprocessing.preprocess_for_eval, {}),
        (preprocessing.preprocess_for_train, {"seed": (1, 2)}),
    ):
        np.testing.assert_array_equal(
            function(encoded, 32, **options), function(image, 32, **options)
        )


@pytest.mark.parametrize("shape", [(1, 1), (10, 2000), (2000, 10), (3, 2)])
@pytest.mark.parametrize("resize", shapes.RESIZES)
def test_extreme_shapes_give_whole_images(noise, shape, resize):
    encoded = tf.io.encode_png(_image(noise, *shape))
    evaluated = preprocessing.preprocess_for_eval(encoded, 32)
    trained = preprocessing.preprocess_for_train(encoded, 32, resize=resize)
    for found in (evaluated, trained):
        assert found.shape == (32, 32, 3)
        assert np.isfinite(found).all()


def test_an_image_of_20000_pixels_width_is_read(tmp_path, noise):
    path = tmp_path / "wide.jpg"
    Image.fromarray(_image(noise, 10, 20_000)).save(path)
    image = decoding.read_image(path)
    assert image.shape == (10, 20_000, 3)
    assert preprocessing.preprocess_for_eval(image, 32).shape == (32, 32, 3)


def _photo(noise, height, width):
    """Returns a smooth image: noise in a JPEG depends on the decoder."""
    small = Image.fromarray(_image(noise, 8, 8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(200, 300), (333, 97)])
def test_a_crop_of_a_jpeg_is_the_crop_of_its_pixels(noise, size):
    encoded = tf.constant(_encode(_photo(noise, *size), "JPEG", quality=90))
    pixels = decoding.decode(encoded)
    for i in range(20):
        found, expected = (
            preprocessing.preprocess_for_train(image, 64, seed=(i, 1))
            for image in (encoded, pixels)
        )
        np.testing.assert_array_equal(found, expected)


def test_a_crop_covers_a_tenth_at_least_and_the_centre_if_none_can_be(noise):
    # The least of the official code is what its object must be covered by.
    boxes = _crop_boxes([(i, 3) for i in range(60)], 0.01)
    heights = boxes[:, 2] - boxes[:, 0] + 1
    widths = boxes[:, 3] - boxes[:, 1] + 1
    # Two pixels of rounding an edge.
    assert (heights * widths / (60 * 80)).min() > 0.1 * 0.9
    # No box of 3:4 to 4:3 covers a tenth of this; its central square is left.
    image = _image(noise, 10, 400)
    found = preprocessing.preprocess_for_train(
        image, 32, flip=False, seed=(1, 2)
    )
    expected = preprocessing.preprocess_for_eval(image, 32)
    np.testing.assert_array_equal(found, expected)


def test_augmentation_gets_whole_pixels_and_a_seed_of_its_own(noise):
    calls = []

    def augment(image, seed):
        calls.append((image.dtype, image.shape, tuple(seed.numpy())))
        return 255 - image

    image = _image(noise, 40, 40)
    plain, negative = (
        preprocessing.preprocess_for_train(image, 32, augment=f, seed=(1, 2))
        for f in (None, augment)
    )
    # Truncated, like the official code's: 2.9 becomes 2.
    np.testing.assert_array_equal(negative, 255 - np.floor(plain))
    ((dtype, shape, seed),) = calls
    assert dtype == "uint8" and shape == (32, 32, 3) and seed != (1, 2)


def _crop_boxes(seeds, min_area, resize="crop", shape=(60, 80)):
    """Returns (height, width) in pixels, and corners, of random crops.

    The pixels hold their own coordinates, so corners of the result tell.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.stack([rows, columns, rows * 0], axis=-1).astype("uint8")
    boxes = []
    for seed in seeds:
        found = preprocessing.preprocess_for_train(
            image,
            64,
            interpolation="nearest",
            min_area=min_area,
            resize=resize,
            flip=False,
            seed=seed,
        ).numpy()
        top, left = found[0, 0, :2]
        bottom, right = found[-1, -1, :2]
        boxes.append((top, left, bottom, right))
    return np.array(boxes)


@pytest.mark.parametrize("min_area", [0.08, 0.35, 0.9])
def test_random_crops_vary_within_their_area(min_area):
    boxes = _crop_boxes([(i, 3) for i in range(40)], min_area)
    assert len(np.unique(boxes, axis=0)) > 20
    heights = boxes[:, 2] - boxes[:, 0] + 1
    widths = boxes[:, 3] - boxes[:, 1] + 1
    areas = heights * widths / (60 * 80)
    # Two pixels of rounding an edge.
    assert areas.min() > min_area * 0.9
    assert areas.max() <= 1
    assert areas.max() - areas.min() > 0.4 * (1 - min_area)


def test_random_crops_keep_the_aspect_in_pixels_or_in_the_square():
    seeds = [(i, 3) for i in range(40)]
    for resize, ratio in (("crop", 1), ("squash", 2)):
        boxes = _crop_boxes(seeds, 0.2, resize, shape=(60, 120))
        heights = boxes[:, 2] - boxes[:, 0] + 1
        widths = boxes[:, 3] - boxes[:, 1] + 1
        aspects = widths / heights / ratio
        assert aspects.min() > 3 / 4 * 0.93 and aspects.max() < 4 / 3 * 1.07


def test_the_seed_fixes_crop_and_flip(noise):
    image = _image(noise, 40, 40)
    one, same, other = (
        preprocessing.preprocess_for_train(image, 32, seed=seed)
        for seed in ((1, 2), (1, 2), (2, 2))
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1


def test_without_a_seed_images_vary_eagerly_and_inside_a_dataset(noise):
    image = _image(noise, 40, 40)
    eager = [preprocessing.preprocess_for_train(image, 32) for _ in range(8)]
    mapped = tf.data.Dataset.from_tensors(image).repeat(8)
    mapped = mapped.map(lambda x: preprocessing.preprocess_for_train(x, 32))
    for images in (eager, list(mapped)):
        assert len({np.asarray(found).tobytes() for found in images}) == 8


def test_half_of_the_images_are_mirrored(noise):
    image = _image(noise, 32, 32)
    mirrored = 0
    for i in range(100):
        found = preprocessing.preprocess_for_train(
            image, 32, min_area=1, seed=(i, 0)
        )
        if np.abs(found - image).max() > 1e-3:
            np.testing.assert_allclose(found, image[:, ::-1], atol=1e-3)
            mirrored += 1
    # Four standard deviations.
    assert 30 <= mirrored <= 70


def test_without_crop_and_flip_only_the_size_changes(noise):
    image = _image(noise, 32, 32)
    found = preprocessing.preprocess_for_train(
        image, 32, min_area=1, flip=False
    )
    np.testing.assert_allclose(found, image, atol=1e-3)


def test_a_random_crop_is_cut_from_the_resized_image(noise):
    image = tf.constant(_image(noise, 60, 40))
    resized = tf.image.resize(image, (48, 48)).numpy()
    places = set()
    for i in range(20):
        crop = preprocessing.preprocess_for_train(
            image,
            32,
            interpolation="bilinear",
            crop_from=48,
            flip=False,
            seed=(i, 0),
        ).numpy()
        (place,) = [
            (top, left)
            for top in range(17)
            for left in range(17)
            if np.array_equal(resized[top : top + 32, left : left + 32], crop)
        ]
        places.add(place)
    assert len(places) > 10


def _sharpen(image, size):
    return preprocessing.preprocess_for_eval(
        image, size, crop_padding=None, interpolation=policies.SHARPENED
    ).numpy()


def test_equals_an_unsharp_mask_along_rows_and_columns(noise):
    image, size = _image(noise, 16, 12), 64
    expected = tf.image.resize(image, (size, size), "bicubic").numpy()
    for axis in (0, 1):
        blurred = ndimage.gaussian_filter1d(
            expected,
            numpy_preprocessing.SHARPENING_RADIUS * size,
            axis=axis,
            truncate=8,
        )
        expected = expected + numpy_preprocessing.SHARPENING_AMOUNT * (
            expected - blurred
        )
    border = slice(8, -8)  # Where scipy knows no more than we do.
    np.testing.assert_allclose(
        _sharpen(image, size)[border, border],
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
