import pytest

from efficientnet_tf.utils import durations


@pytest.mark.parametrize(
    "text,seconds",
    [
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1H 30M 5S", 5405),
    ],
)
def test_a_length_of_time_is_understood(text, seconds):
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "m", "30 parsecs", "-5m", "1h,30m", "5m!", "nan"]
)
def test_what_is_no_length_of_time_is_named(text):
    with pytest.raises(ValueError, match="is no length of time such as"):
        durations.parse(text)


@pytest.mark.parametrize(
    "seconds,text",
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (112, "1 min 52 s"),
        (7_620, "2 h 7 min"),
    ],
)
def test_a_length_of_time_is_told_in_two_units(seconds, text):
    assert durations.show(seconds) == text
