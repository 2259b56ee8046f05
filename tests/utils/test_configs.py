import dataclasses
import re
from typing import Annotated

import pytest

from efficientnet_tf.utils import configs


@dataclasses.dataclass(frozen=True)
class Config:
    epochs: int = 1
    rate: float = 0.5
    name: str = "a"
    flip: bool = True
    limit: int | None = None
    sweep: tuple[float, ...] = (1.0,)
    sizes: tuple[int, ...] = ()


PARSED = [
    ("epochs=7", "epochs", 7),
    ("rate=1e-3", "rate", 1e-3),
    ("rate=2", "rate", 2.0),
    ("name=b=c", "name", "b=c"),
    ("flip=False", "flip", False),
    ("flip=true", "flip", True),
    ("limit=none", "limit", None),
    ("limit=3", "limit", 3),
    ("sweep=0.1,10", "sweep", (0.1, 10.0)),
    ("sweep=", "sweep", ()),
    ("sizes=32,64", "sizes", (32, 64)),
]


@pytest.mark.parametrize("override,field,value", PARSED)
def test_a_value_is_read_as_its_fields_type(override, field, value):
    changed = configs.with_overrides(Config(), [override])
    assert getattr(changed, field) == value
    assert repr(getattr(changed, field)) == repr(value)
    rest = {field: getattr(Config(), field)}
    assert dataclasses.replace(changed, **rest) == Config()


def test_every_field_has_an_example():
    names = {field.name for field in dataclasses.fields(Config)}
    assert {field for _, field, _ in PARSED} == names


REFUSED = [
    ("epochs", "Expected field=value, got 'epochs'"),
    ("epoch=3", "Unknown field 'epoch'; choose one of epochs, rate, name"),
    ("epochs=3.5", "epochs must be of type int, got '3.5'"),
    ("rate=fast", "rate must be of type float, got 'fast'"),
    ("flip=yes", "flip must be of type bool, got 'yes'"),
    ("limit=few", "limit must be of type int, got 'few'"),
    ("sweep=1,x", "sweep must be of type float, got 'x'"),
    ("sizes=1,2.5", "sizes must be of type int, got '2.5'"),
]


@pytest.mark.parametrize("override,message", REFUSED)
def test_nonsense_is_refused_with_its_value(override, message):
    with pytest.raises(ValueError, match=message):
        configs.with_overrides(Config(), [override])


def test_the_last_override_of_a_field_counts():
    changed = configs.with_overrides(Config(), ["epochs=2", "epochs=3"])
    assert changed.epochs == 3


MISTYPED = [
    ("epochs", 3.5, "epochs=3.5 must be of type int"),
    ("epochs", True, "epochs=True must be of type int"),
    ("epochs", (3,), r"epochs=\(3,\) must be of type int"),
    ("rate", "0.5", "rate='0.5' must be of type float"),
    ("rate", None, "rate=None must be of type float"),
    ("name", 3, "name=3 must be of type str"),
    ("flip", 1, "flip=1 must be of type bool"),
    ("limit", 2.0, "limit=2.0 must be of type int"),
    ("sweep", 1.0, "sweep=1.0 must be a tuple of float"),
    ("sizes", [32], r"sizes=\[32\] must be a tuple of int"),
    ("sizes", (32, 0.5), r"sizes=\(32, 0.5\) must be a tuple of int"),
]


@pytest.mark.parametrize("field,value,message", MISTYPED)
def test_a_value_of_another_type_is_refused(field, value, message):
    config = dataclasses.replace(Config(), **{field: value})
    with pytest.raises(ValueError, match=message):
        configs.check_types(config)


def test_whole_numbers_pass_for_fractions_and_none_where_it_may_stand():
    configs.check_types(Config())
    configs.check_types(Config(rate=2, limit=None, sweep=(1, 2.5), sizes=(3,)))


RANGES = [
    (configs.AtLeast(0), 0.0, True),
    (configs.AtLeast(0), 7, True),
    (configs.AtLeast(0), -0.1, False),
    (configs.AtLeast(0), float("inf"), False),
    (configs.AtLeast(0), float("nan"), False),
    (configs.AtLeast(2, 3), 2, True),
    (configs.AtLeast(2, 3), 3, True),
    (configs.AtLeast(2, 3), 1.9, False),
    (configs.AtLeast(2, 3), 3.1, False),
    (configs.Above(0), 1e-9, True),
    (configs.Above(0), 0.0, False),
    (configs.Above(0), float("inf"), False),
    (configs.Above(0), float("nan"), False),
    (configs.Above(0, 1), 1.0, True),
    (configs.Above(0, 1), 1.1, False),
    (configs.Fraction(), 0, True),
    (configs.Fraction(), 0.999, True),
    (configs.Fraction(), None, True),
    (configs.Fraction(), 1.0, False),
    (configs.Fraction(), -1e-9, False),
    (configs.Fraction(), float("nan"), False),
    (configs.ZeroOrAtLeast(32), 0, True),
    (configs.ZeroOrAtLeast(32), 32, True),
    (configs.ZeroOrAtLeast(32), 31, False),
    (configs.ZeroOrAtLeast(32), -32, False),
    (configs.ZeroOrAtLeast(32), float("inf"), False),
    (configs.ZeroOrAtLeast(32), float("nan"), False),
]


def _make(kind, value):
    """Returns a dataclass with one checked field."""
    made = dataclasses.make_dataclass("Made", [("rate", kind)])
    return made(value)


@pytest.mark.parametrize("constraint,value,passes", RANGES)
def test_a_range_ends_where_it_says(constraint, value, passes):
    config = _make(Annotated[float | None, constraint], value)
    if passes:
        configs.check(config)
        return
    message = re.escape(f"rate={value} must be {constraint.words}.")
    with pytest.raises(ValueError, match=message):
        configs.check(config)


def test_each_item_of_a_tuple_is_in_range():
    kind = Annotated[tuple[int, ...], configs.AtLeast(32)]
    for value in ((), (32, 64)):
        configs.check(_make(kind, value))
    message = r"rate=\(64, 31\) must be at least 32"
    with pytest.raises(ValueError, match=message):
        configs.check(_make(kind, (64, 31)))


def test_a_type_is_checked_before_a_range():
    with pytest.raises(ValueError, match="rate='1' must be of type float"):
        configs.check(_make(Annotated[float, configs.AtLeast(0)], "1"))


def test_a_choice_is_one_of_those_named():
    configs.check(_make(Annotated[str, configs.OneOf("a", "b")], "a"))
    with pytest.raises(ValueError, match="rate='a' must be one of b, c[.]$"):
        configs.check(_make(Annotated[str, configs.OneOf("b", "c")], "a"))


@pytest.mark.parametrize(
    "name,hint",
    [
        ("epoch", " Did you mean 'epochs'?"),
        ("sise", ""),
        (3, ""),
        ("", ""),
        ("EfficientNet-B4", " Did you mean 'efficientnet_b4'?"),
        ("B4", " Did you mean 'efficientnet_b4'?"),
        ("b5", ""),  # Of two.
    ],
)
def test_the_nearest_choice_is_suggested_for_a_typo(name, hint):
    choices = ["epochs", "rate", "efficientnet_b4", "first_b5", "other_b5"]
    assert configs.suggest(name, choices) == hint


LETTERS = [f"name_{letter * 20}" for letter in "abcdefgh"]
UNKNOWN = [
    (
        ("model", "name_aaaaaaaaaaaaaaaaaaaaa", LETTERS),
        {},
        f"Unknown model 'name_{'a' * 21}'; did you mean 'name_{'a' * 20}'? "
        f"Choose one of {', '.join(LETTERS)}.",
    ),
    (
        ("model", "xa", ["xab", "y"]),
        {},
        "Unknown model 'xa'; choose one of xab, y. Did you mean 'xab'?",
    ),
    (("percentile", 7, (50, 99)), {}, "percentile 7; choose one of 50, 99."),
    (
        ("pooling", "", (None, "avg")),
        {},
        "pooling ''; choose one of None, avg.",
    ),
    (
        ("weights", "a", ["bc"]),
        {"owner": "'b0'", "otherwise": "a file"},
        "Unknown weights 'a' for 'b0'; choose one of bc, or a file.",
    ),
    (("weights", "a", ()), {"otherwise": "a file"}, "'a'; choose a file."),
]


@pytest.mark.parametrize("arguments,options,message", UNKNOWN)
def test_an_unknown_value_is_shown_with_the_choices(
    arguments, options, message
):
    assert configs.unknown(*arguments, **options).endswith(message)


@pytest.mark.parametrize("resolution", [1, 31])
def test_images_smaller_than_the_strides_are_refused(resolution):
    kind = Annotated[int, configs.ZeroOrAtLeast(32)]
    with pytest.raises(ValueError, match=f"rate={resolution} must be 0"):
        configs.check(_make(kind, resolution))
    configs.check(_make(kind, 0))
    configs.check(_make(kind, 32))


def test_an_unknown_row_names_the_choices():
    rows = {"one": Config(), "two": Config(epochs=2)}
    assert configs.choose(rows, "two", ["rate=1"]) == Config(epochs=2, rate=1.0)
    with pytest.raises(
        ValueError,
        match="recipe 'tow'; choose one of one, two. Did you mean 'two'[?]",
    ):
        configs.choose(rows, "tow")


NO_NUMBERS = [
    ("epochs", 10**400, "epochs=an integer of 1329 bits must be between"),
    ("epochs", 2**31, "epochs=2147483648 must be between -2147483647 and"),
    ("epochs", -(10**30), "epochs=-10+ must be between"),
    ("rate", 1e308, r"rate=1e\+308 must be 0, or a finite number between"),
    ("rate", 1e-320, "rate=1e-320 must be 0, or a finite number between"),
    ("rate", float("nan"), "rate=nan must be 0, or a finite"),
    ("rate", -float("inf"), "rate=-inf must be 0, or a finite"),
    ("rate", 10**400, "rate=inf must be 0, or a finite"),
    ("limit", 2**63, "limit=9223372036854775808 must be between"),
    ("sweep", (1.0, float("inf")), "sweep=inf must be 0, or a finite"),
    ("sizes", (32, 10**30), "sizes=10+ must be between"),
]


@pytest.mark.parametrize(
    "field,value,message", NO_NUMBERS, ids=[row[2] for row in NO_NUMBERS]
)
def test_a_number_that_nothing_could_compute_with_is_refused(
    field, value, message
):
    config = dataclasses.replace(Config(), **{field: value})
    for check in (configs.check, configs.check_types):
        with pytest.raises(ValueError, match=message) as caught:
            check(config)
        assert len(str(caught.value)) < 150


def test_numbers_at_the_ends_are_taken():
    ends = {"epochs": 2**31 - 1, "rate": 3.4e38, "limit": -(2**31) + 1}
    configs.check(dataclasses.replace(Config(), **ends, sweep=(1.2e-38, 0.0)))
