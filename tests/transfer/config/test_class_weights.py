"""What classes and images count in a training."""

import numpy as np
import pytest

from transfer.config import class_weights

NAMES = ("cat", "d,\n=2", "emu")
PARSED = {
    "none": None,
    "auto": None,
    "cat=2": {"cat": 2},
    "cat=2,emu=0.5": {"cat": 2, "emu": 0.5},
    "d,\n=2=1e-1,cat=3": {"d,\n=2": 0.1, "cat": 3},
}


@pytest.mark.parametrize("text", PARSED)
def test_weights_are_written_by_name(text):
    assert class_weights.parse(text) == PARSED[text]


REFUSED = {
    "": "Unknown class_weight ''",
    "balanced": "Unknown .* 'balanced'; choose one of none, auto, or NAME=",
    "cat": "Unknown class_weight 'cat'",
    "cat=x": "Unknown",
    "cat=-1": "Unknown",
    "cat=nan": "Unknown",
    "cat=1,": "Unknown",
    "cat=1,cat=2": "names 'cat' twice",
    "cat=0": "'cat' must be above 0",
    "cat=1e999": "class_weight of 'cat'",
}


@pytest.mark.parametrize("text, message", REFUSED.items(), ids=repr)
def test_other_texts_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        class_weights.parse(text)


def test_a_weight_of_no_class_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="(?s)'cats'; choose .* 'cat'"):
        class_weights.Weighing(NAMES, "cats=2")


LABELS = np.array([0, 0, 0, 2])
OWN = np.array([1, 1, 2, 4], "float32")
# Weights of an image each before they are scaled to mean 1.
WEIGHED = [
    ("none", "shuffled", OWN, [1, 1, 2, 4]),
    ("auto", "shuffled", None, [1, 1, 1, 3]),
    ("none", "balanced", None, [1, 1, 1, 3]),
    ("auto", "shuffled", OWN[::-1], [4, 2, 1, 7]),
    ("cat=2", "shuffled", None, [2, 2, 2, 1]),
    ("cat=2", "shuffled", OWN, [2, 2, 4, 4]),
    ("cat=2", "balanced", None, [2, 2, 2, 3]),
]


@pytest.mark.parametrize("text, sampling, own, expected", WEIGHED)
def test_weights_of_classes_and_of_images_combine(
    text, sampling, own, expected
):
    found = class_weights.Weighing(NAMES, text, sampling).weigh(LABELS, own)
    np.testing.assert_allclose(found, expected / np.mean(expected), rtol=1e-6)


def test_without_weights_there_are_none():
    assert class_weights.ALIKE.weigh(LABELS) is None
    with pytest.raises(ValueError, match="All images .* weight 0"):
        class_weights.ALIKE.weigh(LABELS, 0 * OWN)


FORMER = [
    ({"class_weights": "balanced"}, {"class_weight": "auto"}),
    ({"class_weights": "none"}, {"class_weight": "none"}),
    ({"class_weight": "a=2"}, {"class_weight": "a=2"}),
]


@pytest.mark.parametrize("stored, expected", FORMER)
def test_a_config_of_an_earlier_version_is_read(stored, expected):
    assert class_weights.upgrade(stored) == expected
