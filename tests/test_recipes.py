import dataclasses

import pytest

from efficientnet_tf import recipes


@dataclasses.dataclass(frozen=True)
class Config:
    epochs: int = 1
    rate: float = 0.5
    name: str = "a"
    flip: bool = True
    limit: int | None = None
    sweep: tuple[float, ...] = (1.0,)


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
]


@pytest.mark.parametrize("override,field,value", PARSED)
def test_a_value_is_read_as_its_fields_type(override, field, value):
    changed = recipes.with_overrides(Config(), [override])
    assert getattr(changed, field) == value
    assert type(getattr(changed, field)) is type(value)
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
]


@pytest.mark.parametrize("override,message", REFUSED)
def test_nonsense_is_refused_with_its_value(override, message):
    with pytest.raises(ValueError, match=message):
        recipes.with_overrides(Config(), [override])


def test_the_last_override_of_a_field_counts():
    changed = recipes.with_overrides(Config(), ["epochs=2", "epochs=3"])
    assert changed.epochs == 3
