import numpy as np

from efficientnet_tf.utils import figures


def test_the_grid_holds_every_image_at_its_place():
    images = np.stack([np.full((2, 3, 3), 10 * i, "float32") for i in range(5)])
    grid = figures.image_grid(images, columns=4)
    assert grid.shape == (4, 12, 3)
    assert grid.dtype == "uint8"
    np.testing.assert_array_equal(grid[0, ::3, 0], [0, 10, 20, 30])
    # The second row holds the fifth image, and black where there is none.
    np.testing.assert_array_equal(grid[2, ::3, 0], [40, 0, 0, 0])


def test_the_grid_clips_values_outside_the_range():
    images = np.array([-5.0, 300.0]).reshape(2, 1, 1, 1).repeat(3, axis=3)
    grid = figures.image_grid(images, columns=2)
    np.testing.assert_array_equal(grid[0, :, 0], [0, 255])


def _darkness(image):
    return 255.0 - image.astype(float).mean(axis=-1)


def test_the_first_class_is_drawn_at_the_top_left():
    names = ["a", "b"]
    good = figures.confusion_image(np.array([[7, 0], [0, 7]]), names)
    bad = figures.confusion_image(np.array([[0, 7], [7, 0]]), names)
    assert good.dtype == "uint8" and good.shape[-1] == 3
    # Well inside the cell of the first row and column.
    height, width = good.shape[:2]
    y, x = int(0.3 * height), int(0.25 * width)
    assert _darkness(good)[y, x] > 100 + _darkness(bad)[y, x]


def test_many_classes_are_drawn_without_names():
    count = figures.MAX_NAMED_CLASSES + 10
    names = ["a long name " * 9] * count
    unnamed = figures.confusion_image(np.eye(count), names)
    short = figures.confusion_image(np.eye(count), ["a"] * count)
    np.testing.assert_array_equal(unnamed, short)


def test_shares_do_not_depend_on_how_many_images_a_class_has():
    names = ["a", "b"]
    few = figures.confusion_image(np.array([[1, 1], [0, 1]]), names)
    many = figures.confusion_image(np.array([[50, 50], [0, 3]]), names)
    np.testing.assert_array_equal(few, many)


def test_a_class_without_images_is_drawn_empty():
    picture = figures.confusion_image(np.zeros((2, 2), int), ["a", "b"])
    assert picture.std() > 0  # Axes and names are there.


def test_pyplot_is_left_alone():
    from matplotlib import pyplot

    figures.confusion_image(np.eye(2), ["a", "b"])
    assert pyplot.get_fignums() == []


def test_curves_show_what_a_run_has_and_leave_out_what_it_has_not():
    rows = [{"epoch": i, "top1": i / 10, "loss": 1.0} for i in range(1, 6)]
    charts = {"a": ("top1", "val_ema_top1"), "b": ("loss",)}
    image = figures.curves_image(rows, charts)
    assert image.dtype == np.uint8 and image.shape == (380, 1040, 3)
    # A line that rises is not a line that stays.
    flat = [{**row, "top1": 0.3} for row in rows]
    other = figures.curves_image(flat, charts)
    half = image.shape[1] // 2
    assert (image[:, :half] != other[:, :half]).any()


def test_captions_stand_above_images_of_any_size():
    images = [np.zeros((4, 4, 3), "uint8"), np.zeros((30, 9, 3), "uint8")]
    named = figures.captioned_image(images, ["a", "b"], columns=3)
    unnamed = figures.captioned_image(images, ["", ""], columns=3)
    assert named.dtype == "uint8" and named.shape == (175, 450, 3)
    # Two images; the third place is empty.
    places = np.split(_darkness(unnamed), 3, axis=1)
    assert [place.max() > 200 for place in places] == [True, True, False]
    assert (named != unnamed).any()


def test_predictions_are_bars_as_long_as_they_are_likely():
    images = np.full((2, 8, 8, 3), 255, "uint8")
    likely = np.array([[0.0, 0.9, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25]])
    picture = figures.predictions_image(images, likely, ["x"] * 4, most=2)
    assert picture.dtype == "uint8" and picture.shape == (160, 1000, 3)
    # Pale blue pixels of the bars in each half's columns.
    blue = (picture[..., 2] > 200) & (picture[..., 0] < 200)
    first, second = (half.sum() for half in np.split(blue, 2, axis=1))
    # 0.9 and 0.1 against 0.25 and 0.25.
    np.testing.assert_allclose(first / second, 2, rtol=0.15)


def test_no_more_classes_are_named_than_there_are():
    image = np.zeros((1, 8, 8, 3), "uint8")
    picture = figures.predictions_image(image, [[0.3, 0.7]], ["a", "b"])
    assert picture.shape == (160, 1000, 3)
