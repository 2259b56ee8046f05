import keras
import pytest
import tensorflow as tf

from efficientnet_tf import distribution


@pytest.fixture
def restore_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("precision", distribution.PRECISIONS)
def test_precision_is_that_of_the_layers_built_from_now_on(
    precision, restore_policy
):
    distribution.set_precision(precision)
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    # Weights stay in full precision.
    assert layer.kernel.dtype == "float32"


def test_an_unknown_precision_is_refused_and_changes_nothing(restore_policy):
    before = keras.config.dtype_policy().name
    with pytest.raises(ValueError, match="'float8'; choose one of float32"):
        distribution.set_precision("float8")
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize(
    "kind,expected", [(None, False), ("GPU", True), ("TPU", True)]
)
def test_xla_is_for_accelerators(monkeypatch, kind, expected):
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda asked: ["device"] if asked == kind else [],
    )
    assert distribution.use_xla() is expected
