import keras
import numpy as np
import pytest

from efficientnet_tf.models import builder, features
from efficientnet_tf.training import layer_rates, optimizers


@pytest.fixture(scope="module")
def network(tiny_row):
    return builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))


def one_step(network, make, rates=None, steps=1):
    """Returns {path: the change} by equal gradients everywhere."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    optimizer = make()
    if rates is not None:
        layer_rates.scale_rates(optimizer, rates)
    variables = copy.trainable_variables
    optimizer.build(variables)
    before = [variable.numpy() for variable in variables]
    for _ in range(steps):
        gradients = [
            keras.ops.convert_to_tensor(0.1 + 0 * v.numpy()) for v in variables
        ]
        optimizer.apply(gradients)
    return {
        variable.path: variable.numpy() - old
        for variable, old in zip(variables, before, strict=True)
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.make_sgd(0.1),
        lambda: optimizers.make_adamw(0.1, weight_decay=0.5),
        lambda: optimizers.RMSprop(0.1),
    ],
    ids=["sgd", "adamw", "rmsprop"],
)
def test_each_stage_has_its_share_of_the_rate(network, make):
    stages = features.list_stages(network)
    last = max(stages.values())
    rates = layer_rates.DepthRates(network, decay=0.5)
    plain, scaled = one_step(network, make), one_step(network, make, rates)
    for path, change in plain.items():
        depth = last - stages[path.partition("/")[0]]
        np.testing.assert_allclose(
            scaled[path], change * 0.5**depth, rtol=2e-3, atol=1e-8
        )
    ones = layer_rates.DepthRates(network, decay=1.0)
    for path, change in one_step(network, make, ones).items():
        np.testing.assert_allclose(change, plain[path], rtol=1e-4, atol=1e-7)


def test_stages_begin_to_train_from_the_classifier_down(network):
    stages = features.list_stages(network)
    last = max(stages.values())
    rates = layer_rates.DepthRates(network, decay=1.0, unfreeze_steps=2 * last)

    def make():
        return optimizers.make_adamw(0.1, weight_decay=0.5)

    for path, change in one_step(network, make, rates, steps=1).items():
        assert np.any(change) == path.startswith("predictions"), path
    # Of step i, counted from 0, those with 2 * depth <= i train.
    for variable in network.trainable_variables:
        depth = last - stages[variable.path.partition("/")[0]]
        factors = [float(rates.factor(variable, i)) for i in range(30)]
        assert factors == [float(2 * depth <= i) for i in range(30)]


def test_stages_are_counted_from_the_stem_to_the_classifier(network):
    stages = features.list_stages(network)
    assert stages["stem_conv"] == 0
    assert stages["predictions"] == stages["top_conv"] + 1
    blocks = {n[:6]: s for n, s in stages.items() if n.startswith("block")}
    assert all(name == f"block{stage}" for name, stage in blocks.items())
    assert stages["top_conv"] == max(blocks.values()) + 1
    assert list(stages.values()) == sorted(stages.values())
