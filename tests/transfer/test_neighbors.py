import numpy as np
import pytest

from efficientnet_tf.data.sets import sources
from transfer import finished, neighbors
from transfer.report import neighbors_page

FEATURES = np.array(
    [[2, 0, 0], [0, 1, 0], [3, 3, 0], [0, 5, 0.1], [1, 0.1, 0]], "float32"
)
LABELS = np.array([0, 1, 1, 1, 0])


@pytest.fixture(scope="module")
def index():
    pixels = (
        np.zeros((5, 4, 6, 3), "uint8")
        + np.arange(5, dtype="uint8")[:, None, None, None]
    )
    examples = sources.from_arrays(pixels, LABELS, ("cat", "dog"))
    names = tuple(f"{i}.jpg" for i in range(5))
    trained = finished.Trained(examples, names, FEATURES, LABELS, 0)
    return neighbors.Index(trained, ("cat", "dog"))


def test_the_nearest_are_those_of_the_largest_cosine_whatever_their_length(
    index,
):
    found = index.find(np.array([10, 0, 0], "float32"), 3)
    assert [each.image for each in found] == ["0.jpg", "4.jpg", "2.jpg"]
    assert [each.class_name for each in found] == ["cat", "cat", "dog"]
    expected = [1, 1 / 1.01**0.5, 0.5**0.5]
    got = [each.similarity for each in found]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert len(index.find(np.ones(3, "float32"), 99)) == 5


def test_pixels_are_those_of_their_places(index):
    found = index.read_pixels([4, 1, 4], "used")
    assert {place: int(each.max()) for place, each in found.items()} == {
        1: 1,
        4: 4,
    }


# (classes of the neighbours, the vote)
VOTES = [
    ("aab", ("a", 2)),
    ("abb", ("b", 2)),
    ("ba", ("b", 1)),  # The nearest of equals.
    ("abba", ("a", 2)),
]


@pytest.mark.parametrize("classes,expected", VOTES)
def test_the_vote_is_the_most_frequent_class(classes, expected):
    near = [neighbors.Neighbor(i, "", c, 1.0) for i, c in enumerate(classes)]
    assert neighbors.vote(near) == expected


def test_the_page_shows_names_of_strangers_as_text():
    row = {
        "file": "<script>alert(1)</script>.jpg",
        "class": "<b>",
        "probability": 0.5,
        "neighbors": [{"image": "a", "class": "dog", "similarity": 0.25}],
        "neighbors_class": "dog",
        "votes": 1,
        "agrees": False,
    }
    pixels = np.zeros((9, 300, 3), "uint8")
    shown = [neighbors_page.Shown(row, pixels, [pixels])]
    page = neighbors_page.compose("photos", shown, 7)
    assert "<script>alert" not in page and "&lt;b&gt;, 50.0 %" in page
    assert "The first 1 of 7." in page and page.count("data:image/jpeg") == 2
    assert "of the 1 nearest, 1 are dog; they disagree" in page
