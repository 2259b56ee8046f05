"""Which images are computed together, and how long they wait."""

import pytest

from efficientnet_tf.deploy.server import batching, limits, names

SIZES = limits.Limits(max_batch=32).batch_sizes


@pytest.mark.parametrize(
    "waiting, taken",
    [(0, 0), (1, 1), (2, 2), (3, 2), (7, 4), (31, 16), (32, 32), (999, 32)],
)
def test_the_largest_batch_that_is_full_is_computed(waiting, taken):
    assert batching.choose_size(waiting, SIZES) == taken


@pytest.mark.parametrize(
    "most, sizes",
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))],
)
def test_batches_are_powers_of_two_and_the_largest(most, sizes):
    assert limits.Limits(max_batch=most).batch_sizes == sizes
    for waiting in range(1, 20):
        assert batching.choose_size(waiting, sizes) in sizes


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"max_batch": 0}, "max_batch=0 must be between 1 and 1024"),
        ({"max_batch": 2.0}, "max_batch"),
        ({"max_wait_ms": -1.0}, "max_wait_ms=-1.0 must be between 0"),
        ({"max_queue": 8}, "max_queue=8 must be at least max_batch=32"),
        ({"max_mb": 0.0}, "max_mb=0.0 must be above 0"),
        ({"max_megapixels": 1e4}, "max_megapixels"),
        ({"timeout_seconds": 0.0}, "timeout_seconds=0.0 must be above 0"),
    ],
)
def test_limits_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        limits.Limits(**fields)


@pytest.mark.parametrize(
    "name", ["", "a/b", "a:b", "-a", "a b", "ä", "a" * 101]
)
def test_a_name_that_cannot_stand_in_a_path_is_refused(name):
    with pytest.raises(ValueError, match="must be of letters"):
        names.check(name)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("runs/my photos", ("my_photos", "1")),
        ("runs/v1.2/", ("v1.2", "1")),
        ("files/lite0.tflite", ("lite0", "1")),
        ("served/photos/3", ("photos", "3")),
        ("served/photos/007/", ("photos", "7")),
        ("12", ("12", "1")),
        ("served/photos/0", ("0", "1")),
        ("efficientnet_lite0", ("efficientnet_lite0", "1")),
        ("\u732b", ("model", "1")),
        ("..", ("model", "1")),
        ("x" * 300, ("x" * 100, "1")),
    ],
)
def test_a_name_and_a_version_are_read_off_a_path(source, expected, tmp_path):
    (tmp_path / "runs" / "v1.2").mkdir(parents=True)
    found = names.choose(str(tmp_path / source) if "/" in source else source)
    assert found == expected
    names.check(found[0])
