import numpy as np
import pytest

from efficientnet_tf.inference import explain, overlays

pytest.importorskip("matplotlib")

NAMES = ("cat", "dog$x$\n" + "y" * 60)


def _explained(picture, box, maps, **changes):
    fields = {
        "picture": picture,
        "box": box,
        "maps": np.asarray(maps, "float32"),
        "classes": np.arange(len(maps)),
        "probabilities": np.array([0.75, 0.2])[: len(maps)],
        **changes,
    }
    return explain.Explained(**fields)


def _saturation(image):
    return np.ptp(image.astype(int), axis=-1)


def test_the_map_is_in_colour_in_its_box_and_the_rest_is_pale():
    picture = np.full((40, 80, 3), (10, 120, 60), "uint8")
    heat = np.array([[0, 1], [0, 0]], "float32")
    image = overlays.overlay(picture, heat, (20.2, 0, 59.8, 40))
    assert image.shape == picture.shape and image.dtype == np.uint8
    outside = np.concatenate([image[:, :20], image[:, 60:]], axis=1)
    assert not _saturation(outside).any() and outside.min() > 170
    # Yellow where the map is highest, dark blue where it is nothing.
    high, low = image[5, 55].astype(int), image[35, 25].astype(int)
    assert high[0] > high[2] + 80 and high[1] > high[2] + 80
    assert low[2] > low[1] + 20
    assert (_saturation(image[:, 20:60]) > 0).all()
    whole = overlays.overlay(picture, heat)
    assert (_saturation(whole) > 0).all()


def test_the_colours_become_lighter_step_by_step_without_colour_vision():
    steps = np.linspace(0, 1, 64, dtype="float32")[None]
    colours = overlays.overlay(np.full((1, 64, 3), 128, "uint8"), steps)
    grey = colours[0].astype("float32") @ (0.299, 0.587, 0.114)
    assert (np.diff(grey) > -1).all() and grey[-1] > grey[0] + 90
    # Without red or green: what protanopes and deuteranopes tell apart.
    for channel in (0, 1):
        assert colours[0, -1, channel] > colours[0, 0, channel] + 40


def test_a_picture_has_a_panel_for_the_image_and_each_map():
    picture = np.full((300, 384, 3), 90, "uint8")
    maps = [[[1, 0]], [[0, 1]]]
    one = _explained(picture, (42, 0, 342, 300), maps[:1])
    two = _explained(picture, (42, 0, 342, 300), maps)
    narrow, wide = (overlays.draw(item, NAMES, "a.jpg") for item in (one, two))
    assert wide.shape[1] - narrow.shape[1] == 384 + 10
    assert wide.shape[0] == narrow.shape[0] == 300 + 24 + 10
    # The image as it is, beside what the network did not see.
    np.testing.assert_array_equal(narrow[24:324, 10:52], picture[:, :42])
    noted = overlays.draw(two, NAMES, "a.jpg", "Grad-CAM, layer")
    np.testing.assert_array_equal(noted[24:], wide)
    assert (noted[:24] < 100).any()
    # Texts above.
    assert (wide[:24] < 100).any()
    # The second map is yellow at the right.
    row = wide[24 + 150].astype(int)
    left, right = 2 * 394 + 10 + 100, 2 * 394 + 10 + 300
    assert row[right, 0] - row[right, 2] > 80 > row[left, 0] - row[left, 2]


@pytest.mark.parametrize("shape", [(1, 1), (2, 700), (700, 2), (8, 8)])
def test_images_of_any_shape_are_drawn(shape):
    picture = np.zeros((*shape, 3), "uint8")
    side = min(shape)
    box = (0.2, 0.2, side * 0.8, side * 0.8)
    image = overlays.draw(_explained(picture, box, [[[1]]]), NAMES, "x" * 300)
    assert image.shape[0] >= 24 + 80 and image.shape[1] >= 500


def test_titles_are_short_and_say_if_nothing_speaks_for_a_class():
    item = _explained(None, None, [[[2]], [[-1]]])
    first, second = overlays.list_titles(item, NAMES, 34)
    assert first == "cat 75.0%"
    assert second.startswith("dog$x$\\ny") and len(second) == 34
    assert second.endswith(" 20.0%, no evidence")


def test_a_box_is_outlined_unless_it_is_everything():
    grey = np.full((20, 30, 3), 128, "uint8")
    marked = overlays.mark_box(grey, (5, 2, 25, 18))
    changed = (marked != 128).any(-1)
    assert changed[2, 5:25].all() and changed[17, 5:25].all()
    assert changed[2:18, 5].all() and changed[2:18, 24].all()
    assert changed.sum() == 2 * 20 + 2 * 14
    assert {0, 255} <= set(marked[changed].flat)
    assert overlays.mark_box(grey, (0, 0, 30, 20.4)) is grey
