import pytest

from efficientnet_tf.utils import words


@pytest.mark.parametrize(
    "number, noun, text",
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (1, "class", "1 class"),
        (1000, "class", "1,000 classes"),
    ],
)
def test_a_count_agrees_with_its_noun(number, noun, text):
    assert words.count(number, noun) == text
