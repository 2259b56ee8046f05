import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import image_files
from efficientnet_tf.data import frames, shapes
from efficientnet_tf.inference import (
    activation_maps,
    classifier,
    explain,
    map_arguments,
    overlays,
)

SIZE = 24
NAMES = ("red", "green", "blue", "a, b")
# Each class is the mean of a channel; the last one is none of them.
KERNEL = np.eye(3, 4, dtype="float32") / 10


@pytest.fixture(scope="module")
def network():
    """Its features are the pixels themselves, pooled four by four."""
    network = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.AveragePooling2D(4, name="features"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, "softmax"),
        ],
        name="colours",
    )
    network.layers[-1].set_weights([KERNEL, np.zeros(4)])
    return network


@pytest.fixture(scope="module")
def colours(network):
    return classifier.Classifier(network, NAMES, SIZE, "bilinear", 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An image with a square of its colour at the top left, and one below."""
    folder = tmp_path_factory.mktemp("colours")
    found = []
    for i, place in enumerate([(0, 0), (0, 12), (12, 12)]):
        pixels = np.zeros((SIZE, SIZE, 3), "uint8")
        pixels[place[0] : place[0] + 12, place[1] : place[1] + 12, i] = 200
        found.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


def _expect(place, value=20.0):
    """The map of a class whose colour fills a quarter of the image."""
    expected = np.zeros((6, 6))
    top, left = place
    expected[top : top + 3, left : left + 3] = value
    return expected


MAPS = np.array([_expect(place) for place in [(0, 0), (0, 3), (3, 3)]])


def test_maps_are_of_each_images_predicted_class(colours, files):
    maps, classes, probabilities = explain.class_activation_map(colours, files)
    np.testing.assert_array_equal(classes, [0, 1, 2])
    np.testing.assert_allclose(maps, MAPS, atol=1e-4)
    expected = colours.predict(files)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    # The same without files, from the network alone.
    arrays = np.stack([np.asarray(Image.open(path)) for path in files])
    for owner in (colours, colours.model):
        found = explain.class_activation_map(owner, arrays)
        np.testing.assert_allclose(found.maps, MAPS, atol=1e-4)
    one = explain.class_activation_map(colours, files[1])
    np.testing.assert_allclose(one.maps, MAPS[1:2], atol=1e-4)


CHOICES = {
    "a name": ("green", [1, 1, 1]),
    "an index": (np.int64(2), [2, 2, 2]),
    "one for each": (["green", 0, "a, b"], [1, 0, 3]),
    "two for each": ([[0, "blue"], [1, 1], [3, 2]], [[0, 2], [1, 1], [3, 2]]),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("function", ["class_activation_map", "grad_cam"])
def test_classes_are_indices_or_names_for_all_or_each(
    name, function, colours, files
):
    wanted, expected = CHOICES[name]
    found = getattr(explain, function)(colours, files, wanted)
    np.testing.assert_array_equal(found.classes, expected)
    assert found.maps.shape == (*np.shape(expected), 6, 6)
    if function == "grad_cam":
        found = found._replace(maps=36 * found.maps)  # Places.
    for i, row in enumerate(expected):
        for j, output in enumerate(np.atleast_1d(row)):
            map_ = found.maps[i] if np.ndim(row) == 0 else found.maps[i, j]
            hit = MAPS[i] if output == i else np.zeros((6, 6))
            np.testing.assert_allclose(map_, hit, atol=1e-4)


def test_more_images_than_a_batch_keep_their_order(colours, files):
    many = [files[i % 3] for i in range(70)]
    found = explain.class_activation_map(colours, many)
    np.testing.assert_array_equal(found.classes, np.arange(70) % 3)
    expected = MAPS[np.arange(70) % 3]
    np.testing.assert_allclose(found.maps, expected, atol=1e-4)
    chosen = explain.class_activation_map(colours, many, list(found.classes))
    np.testing.assert_allclose(chosen.maps, expected, atol=1e-4)


GOOD = np.zeros((2, SIZE, SIZE, 3), "float32")
BAD = {
    "typo": (GOOD, "gren", "Unknown class 'gren'; choose one of red,.*'green'"),
    "index": (GOOD, 4, "The class 4 must be from 0 to 3"),
    "negative": (GOOD, -1, "The class -1 must be from 0 to 3"),
    "a fraction": (GOOD, 1.5, "The class 1.5 must be an index or a name"),
    "truth": (GOOD, True, "The class True must be an index or a name"),
    "too few": (GOOD, [1], r"shape \(1,\) must be one class,.* there are 2"),
    "three axes": (GOOD, [[[1]]] * 2, r"shape \(2, 1, 1\) must be"),
    "one image": (GOOD[0], None, r"images float32\[24, 24, 3\] must be paths"),
    "size": (GOOD[:, :8], None, r"\[2, 8, 24, 3\].*numbers \[N, 24, 24, 3\]"),
    "none": ([], None, r"images float64\[0\] must be paths, or"),
    "bytes": (b"\xff\xd8", None, r"images \|S2\[\] must be paths"),
    "names": (np.array(["a.png"]), None, "must be paths, or numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_and_classes_are_named(name, colours):
    images, classes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        explain.class_activation_map(colours, images, classes)


def test_of_many_classes_the_nearest_is_named_not_all(network):
    names = tuple(f"class {i}" for i in range(99))
    many = dataclasses.replace(
        classifier.Classifier(network, names, SIZE, "bilinear")
    )
    with pytest.raises(ValueError) as error:
        map_arguments.find_classes(many, ["clas 42"])
    assert str(error.value) == (
        "Unknown class 'clas 42' of 99. Did you mean 'class 42'?"
    )


def test_a_network_alone_takes_no_files_and_no_names(network, files):
    with pytest.raises(ValueError, match="Files are prepared by a Classifier"):
        explain.class_activation_map(network, files)
    with pytest.raises(ValueError, match="'red' is a name; .* are indices"):
        explain.class_activation_map(network, GOOD, "red")
    with pytest.raises(ValueError, match="not of a str"):
        explain.class_activation_map("runs/x", files)


def test_a_classifier_of_another_runtime_is_refused(network, files):
    class Session:
        def predict_on_batch(self, images):
            return images

    other = classifier.Classifier(Session(), NAMES, SIZE, "bilinear")
    with pytest.raises(ValueError, match="an exported file or .* take a run"):
        explain.class_activation_map(other, files)


def test_pixels_up_to_one_are_warned_of(colours, caplog):
    images = np.full((1, SIZE, SIZE, 3), 0.5)
    with caplog.at_level("WARNING"):
        explain.class_activation_map(colours, images)
    assert "at most 1; the network takes them in [0, 255]" in caplog.text


def test_maps_are_scaled_each_by_its_own_maximum():
    maps = np.array([[[1, -2], [4, 0]], [[-1, -3], [0, -1]]], "float32")
    expected = [[[0.25, 0], [1, 0]], [[0, 0], [0, 0]]]
    np.testing.assert_array_equal(explain.scale_maps(maps), expected)


def test_maps_are_resized_between_the_centres_of_their_places():
    maps = np.array([[[0, 4]], [[4, 0]]], "float32")
    found = explain.resize_maps(maps, (2, 4))
    np.testing.assert_allclose(found[0], [[0, 1, 3, 4]] * 2)
    np.testing.assert_allclose(found[1], [[4, 3, 1, 0]] * 2)


def test_errors_stand_in_the_place_of_bad_files(colours, files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("words")
    taken = []

    def paths():
        for path in [bad, *files] * 8:
            taken.append(path)
            yield path

    compute = explain.make_maps(colours)
    stream = explain.explain_each(colours, compute, paths(), top=9)
    _, error = next(stream)
    assert "bad.jpg is not an image" in str(error)
    assert len(taken) == explain.BATCH_SIZE  # No further than a batch.
    found = [item for _, item in stream]
    assert len(found) == 31 and len(taken) == 32
    for i in range(3):
        np.testing.assert_allclose(found[i].maps[0], MAPS[i], atol=1e-4)
        assert found[i].classes[0] == i and len(found[i].classes) == 4
        assert (np.diff(found[i].probabilities) <= 0).all()
    only = explain.explain_each(colours, compute, files, classes=[3, 1])
    for (path, item), expected in zip(only, files, strict=True):
        assert path == expected and item.classes.tolist() == [3, 1]


@pytest.mark.parametrize(
    "crop_padding,orientation", [(0, 1), (8, 6), (None, 6), (8, 3)]
)
def test_the_box_is_what_the_network_saw_of_the_upright_image(
    crop_padding, orientation, network, tmp_path
):
    path = tmp_path / "wide.jpg"
    # Smooth, so that two ways of resizing agree.
    y, x = np.mgrid[0:400, 0:900].astype("float32")
    pixels = np.stack([x / 4, y / 2, (x + y) / 6], -1).astype("uint8")
    exif = image_files.make_exif(orientation)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    seen = classifier.Classifier(network, NAMES, SIZE, "bilinear", crop_padding)
    compute = explain.make_maps(seen)
    ((_, found),) = explain.explain_each(seen, compute, [path])
    height, width = found.picture.shape[:2]
    assert max(height, width) == explain.SHOWN_SIDE
    assert (height > width) == (orientation == 6)
    left, top, right, bottom = (round(side) for side in found.box)
    part = found.picture[top:bottom, left:right].astype("float32")
    expected = tf.image.resize(part, (SIZE, SIZE), antialias=True)
    prepared = seen.preprocess(tf.constant(path.read_bytes()))
    assert np.abs(prepared - expected).max() < 8
    assert np.abs(prepared - expected).mean() < 2


def test_the_public_names_are_these_functions():
    import efficientnet_tf

    names = {
        "class_activation_map": explain,
        "grad_cam": explain,
        "with_activation_map": activation_maps,
    }
    for name, module in names.items():
        assert getattr(efficientnet_tf, name) is getattr(module, name)


@pytest.mark.parametrize("shape", [(40, 120), (120, 40)])
def test_maps_of_a_letterbox_lie_on_the_pixels_that_they_are_of(shape):
    preparation = shapes.make(64, resize="letterbox")
    top, left, height, width = frames.find_seen(shape, preparation)
    box = (left, top, left + width, top + height)
    # Hot where the network saw the image's right lower end, and in the bars.
    heat = np.zeros((64, 64), "float32")
    place = tuple(map(int, frames.find_place(shape, preparation)))
    heat[: place[0]] = heat[:, : place[1]] = 1
    heat[place[0] + place[2] - 4 :, place[1] + place[3] - 4 :] = 1
    picture = np.full((*shape, 3), 128, "uint8")
    painted = overlays.overlay(picture, heat, box).astype(int)
    assert painted.shape == picture.shape
    cold, hot = painted[shape[0] // 2, shape[1] // 2], painted[-2, -2]
    assert hot[0] > hot[2] + 50 and cold[2] > cold[0]
    hottest = (painted[..., 0] > painted[..., 2] + 50).mean()
    # Of the image one end, and a row or two where the bars' heat is blurred.
    assert 0 < hottest < 0.15
    assert (overlays.mark_box(picture, box) == picture).all()
