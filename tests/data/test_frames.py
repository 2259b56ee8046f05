"""Where images of any shape lie in a network's input."""

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data import frames, preprocessing, shapes

# Of an image (height, width): what a crop of an input (height, width) keeps.
CROPS = [
    # image, input, padding, (top, left, height, width)
    ((70, 150), (32, 32), 0, (0, 40, 70, 70)),
    ((70, 150), (32, 64), 0, (0, 5, 70, 140)),
    ((150, 70), (32, 64), 0, (58, 0, 35, 70)),
    ((70, 150), (64, 64), 32, (12, 52, 46, 46)),
    ((96, 192), (32, 96), 32, (24, 24, 48, 144)),
    ((1, 3000), (32, 64), 0, (0, 1499, 1, 2)),
]
# And where a letterbox puts it.
PLACES = [
    ((70, 150), (32, 32), (8, 0, 15, 32)),
    ((70, 150), (32, 64), (1, 0, 30, 64)),
    ((150, 70), (32, 64), (0, 24, 32, 15)),
    ((40, 80), (32, 64), (0, 0, 32, 64)),
    ((1, 3000), (32, 64), (15, 0, 1, 64)),
    ((60_000, 50_000), (384, 16_000), (0, 7840, 384, 320)),
]


@pytest.mark.parametrize("image,size,padding,expected", CROPS)
def test_a_crop_is_the_largest_centre_part_of_the_inputs_proportions(
    image, size, padding, expected
):
    preparation = shapes.make(size, crop_padding=padding)
    assert tuple(map(int, frames.find_crop(image, preparation))) == expected
    assert frames.find_seen(image, preparation) == expected


@pytest.mark.parametrize("image,size,expected", PLACES)
def test_a_letterbox_keeps_all_of_an_image_in_the_middle(image, size, expected):
    preparation = shapes.make(size, resize="letterbox")
    assert tuple(map(int, frames.find_place(image, preparation))) == expected
    top, left, height, width = frames.find_seen(image, preparation)
    # The image itself begins where the bars end.
    down, across = size[0] / height, size[1] / width
    np.testing.assert_allclose([-top * down, -left * across], expected[:2])
    sides = [image[0] * down, image[1] * across]
    np.testing.assert_allclose(sides, expected[2:])


def test_squash_was_written_as_a_crop_without_padding():
    assert shapes.make(32, crop_padding=None).resize == shapes.SQUASH
    assert shapes.make(32, resize="squash").crop_padding is None
    assert shapes.make(32).resize == shapes.CROP


@pytest.mark.parametrize(
    "resize,low,high",
    # Of an image of 60 x 120 in an input of 32 x 96.
    [("crop", 3 * 3 / 4, 3 * 4 / 3), ("letterbox", 2 * 3 / 4, 2 * 4 / 3)],
)
def test_random_crops_have_the_proportions_of_input_or_image(resize, low, high):
    rows, columns = np.mgrid[:60, :120]
    image = np.stack([rows, columns, 0 * rows + 200], -1).astype("uint8")
    preparation = shapes.make((32, 96), resize=resize, interpolation="nearest")
    aspects = []
    for i in range(30):
        found = preprocessing.prepare_for_train(
            image, preparation, min_area=0.2, flip=False, seed=(i, 3)
        ).numpy()
        inside = found[found[..., 2] == 200]
        bars = found[found[..., 2] != 200]
        assert bars.size == 0 or (bars == shapes.GREY).all()
        assert bool(bars.size) == (resize == "letterbox")
        height, width = (np.ptp(inside[:, i]) + 1 for i in (0, 1))
        aspects.append(width / height)
    # Two pixels of rounding an edge.
    assert low * 0.85 < min(aspects) < max(aspects) < high * 1.15


def test_graphs_prepare_images_of_unknown_shape():
    preparation = shapes.make((32, 48), resize="letterbox")
    spec = tf.TensorSpec((None, None, 3), tf.uint8)
    prepare = tf.function(
        lambda image: preprocessing.prepare(image, preparation), [spec]
    )
    for shape in ((9, 30), (30, 9)):
        image = np.full((*shape, 3), 7, "uint8")
        found = prepare(image)
        assert found.shape == (32, 48, 3)
        np.testing.assert_allclose(
            found, preprocessing.prepare(image, preparation), atol=1e-3
        )
