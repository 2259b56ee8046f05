"""Costs layer by layer; the networks' goldens are in test_builder.py."""

import keras
import pytest

from efficientnet_tf.models import builder, macs, profile as profile_lib


def test_costs_of_a_small_network_are_those_counted_by_hand():
    network = keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.DepthwiseConv2D(5, padding="same", name="depthwise"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="dense"),
        ]
    )
    costs = {c.name: c for c in profile_lib.profile(network).layers}
    found = {
        name: (costs[name].params, costs[name].multiply_adds)
        for name in ("conv", "bn", "depthwise", "dense")
    }
    assert found == {
        "conv": (3 * 3 * 3 * 8 + 8, 3 * 3 * 3 * 8 * 5 * 5),
        "bn": (16, 0),
        "depthwise": (5 * 5 * 8 + 8, 5 * 5 * 8 * 5 * 5),
        "dense": (8 * 4 + 4, 8 * 4),
    }
    assert costs["bn"].statistics == 16


def test_the_sums_are_those_of_the_layers():
    profile = profile_lib.profile("efficientnet_lite0", resolution=64)
    for field in ("params", "statistics", "multiply_adds"):
        rows = [getattr(layer, field) for layer in profile.layers]
        assert getattr(profile, field) == sum(rows)


def test_multiply_adds_grow_with_the_area():
    small, large = (
        profile_lib.profile("efficientnet_lite0", resolution=size)
        for size in (64, 128)
    )
    assert small.params == large.params
    # All but the dense layer's 1,280 x 1,000.
    dense = 1280 * 1000
    assert large.multiply_adds - dense == 4 * (small.multiply_adds - dense)


def test_freezing_moves_parameters_but_costs_the_same():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    before = profile_lib.profile(network)
    network.trainable = False
    assert profile_lib.profile(network).multiply_adds == before.multiply_adds
    assert (
        profile_lib.profile(network).params
        + profile_lib.profile(network).statistics
        == before.params
    )


def test_an_open_size_is_refused_or_given():
    network = keras.Sequential(
        [
            keras.Input((None, None, 3), name="pictures"),
            keras.layers.Conv2D(8, 3, name="conv"),
        ]
    )
    with pytest.raises(ValueError, match="'pictures'.*pass resolution="):
        profile_lib.profile(network)
    profile = profile_lib.profile(network, resolution=10)
    assert profile.multiply_adds == 3 * 3 * 3 * 8 * 8 * 8


def test_a_resolution_beside_a_fixed_size_is_refused():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="resolution=64 is for a name or"):
        profile_lib.profile(network, resolution=64)


def test_activations_of_resnet50_are_those_of_pycls():
    # The column "acts" of MODEL_ZOO.md in
    # https://github.com/facebookresearch/pycls; test_costs has the family's.
    found = profile_lib.profile(builder.build("resnet50")).activations
    assert round(found / 1e6, 1) == 11.1


def test_stages_are_those_of_table_1_and_add_up():
    profile = profile_lib.profile("efficientnet_b0")
    names = [stage.name for stage in profile.stages]
    blocks = [f"block{i}" for i in range(1, 8)]
    assert names == ["stem", *blocks, "top", "predictions"]
    for count in profile_lib.COUNTS:
        found = sum(getattr(stage, count) for stage in profile.stages)
        assert found == sum(getattr(row, count) for row in profile.layers)


def _shared():
    """Two images through one branch."""
    inputs = [keras.Input((6, 6, 3)), keras.Input((6, 6, 3))]
    branch = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    return keras.Model(inputs, keras.layers.add([branch(x) for x in inputs]))


def _nested():
    inner = keras.Sequential(
        [keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3, name="conv")],
        name="inner",
    )
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, keras.layers.Flatten()(inner(inputs)))


def _layered(*layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


def _attention():
    query, value = keras.Input((10, 8)), keras.Input((6, 12))
    attention = keras.layers.MultiHeadAttention(2, 5, value_dim=7)
    return keras.Model([query, value], attention(value=value, query=query))


def _operations():
    a, b = keras.Input((5, 7)), keras.Input((7, 3))
    c = keras.ops.matmul(a, b)
    return keras.Model([a, b], keras.ops.einsum("bij,bkj->bik", c, c))


class _Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(self.dense(x)) + x


# Network -> multiply-adds, counted by hand.
NETWORKS = {
    "shared layers": (_shared, 2 * 27 * 4 * 36),
    "nested models": (_nested, 27 * 4 * 16),
    "layers in layers": (lambda: _layered(_Block(), shape=(3,)), 2 * 9),
    "grouped": (
        lambda: _layered(keras.layers.Conv2D(6, 3, groups=3), shape=(5, 5, 9)),
        9 * 3 * 6 * 9,
    ),
    "separable": (
        lambda: _layered(keras.layers.SeparableConv2D(6, 3), shape=(5, 5, 4)),
        (9 * 4 + 4 * 6) * 9,
    ),
    "einsum dense": (
        lambda: _layered(
            keras.layers.EinsumDense("...x,xyz->...yz", (2, 5)), shape=(3, 4)
        ),
        3 * 4 * 2 * 5,
    ),
    "attention": (
        _attention,
        # Queries, keys, values, scores, sums, output.
        2 * (10 * 8 * 5 + 6 * 12 * (5 + 7) + 60 * 5 + 60 * 7 + 10 * 7 * 8),
    ),
    "operations": (_operations, 5 * 7 * 3 + 5 * 5 * 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_costs_what_is_counted_by_hand(name):
    make, expected = NETWORKS[name]
    network = make()
    profile = profile_lib.profile(network)
    assert profile.multiply_adds == expected
    assert profile.params + profile.statistics == network.count_params()
    assert not profile.uncounted


# Layers that no network here has, in a network of their own.
WITHOUT_RULE = {
    "transposed": (keras.layers.Conv2DTranspose(6, 3), (5, 5, 4)),
    "one-dimensional": (keras.layers.Conv1D(6, 3), (5, 4)),
    "recurrent": (keras.layers.LSTM(5), (7, 3)),
    "both ways": (keras.layers.Bidirectional(keras.layers.GRU(5)), (7, 3)),
    "each step": (
        keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3)),
        (7, 5, 5, 2),
    ),
}


@pytest.mark.parametrize("kind", WITHOUT_RULE)
def test_a_layer_without_a_rule_is_named_and_its_parameters_count(kind):
    layer, shape = WITHOUT_RULE[kind]
    network = _layered(layer, shape=shape)
    profile = profile_lib.profile(network)
    assert profile.uncounted == (layer.name,)
    assert profile.params == network.count_params()
    assert profile.multiply_adds == 0


# Five queries look at seven values, all of eight numbers.
ATTENTION = {
    "dot-product": (keras.layers.Attention(), lambda f, q, v: f([q, v])),
    "additive": (keras.layers.AdditiveAttention(), lambda f, q, v: f([q, v])),
    "grouped": (
        keras.layers.GroupQueryAttention(4, 2, 1),
        lambda f, q, v: f(q, v),
    ),
}


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_without_a_rule_is_named_too(kind):
    layer, call = ATTENTION[kind]
    inputs = keras.Input((5, 8)), keras.Input((7, 8))
    profile = profile_lib.profile(keras.Model(inputs, call(layer, *inputs)))
    assert profile.uncounted == (layer.name,)


def test_a_network_without_a_graph_is_counted_too():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(4, 3, name="conv")
            self.scale = self.add_weight(shape=(4,), name="scale")

        def call(self, x):
            return self.conv(x) * self.scale

    network = Network()
    profile = profile_lib.profile(network, resolution=8)
    assert profile.multiply_adds == 27 * 4 * 36
    assert profile.params == network.count_params() == 27 * 4 + 4 + 4


def test_a_layer_of_ones_own_is_named_until_it_has_a_rule(monkeypatch):
    class Mixer(keras.layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], 5))

        def call(self, x):
            return keras.ops.matmul(x, self.matrix)

    network = _layered(Mixer(name="mixer"), shape=(3, 4))
    profile = profile_lib.profile(network)
    assert profile.uncounted == ("mixer",)
    assert (profile.params, profile.multiply_adds) == (20, 0)
    monkeypatch.setitem(
        macs.RULES,
        Mixer,
        lambda layer, inputs, output: inputs[0][1] * layer.matrix.shape[0] * 5,
    )
    profile = profile_lib.profile(network)
    assert (profile.uncounted, profile.multiply_adds) == ((), 3 * 4 * 5)


# What TensorFlow's profiler calls one multiply-add.
OPERATIONS = 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: builder.build("efficientnet_b0"),
        lambda: keras.applications.ResNet50(weights=None),
        lambda: keras.applications.MobileNetV2(weights=None),
    ],
    ids=["efficientnet_b0", "ResNet50", "MobileNetV2"],
)
def test_multiply_adds_are_those_of_tensorflows_profiler(make):
    network = make()
    counted = _profile_graph(network) / OPERATIONS
    found = profile_lib.profile(network).multiply_adds
    assert found == pytest.approx(counted, rel=0.01)


def _profile_graph(network):
    """Returns the matrix products in the frozen graph."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    spec = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    function = tf.function(lambda x: network(x, training=False))
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        function.get_concrete_function(spec)
    )
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    )
    # Not what is done element by element, of which it counts some.
    options.with_accounted_types(
        ["Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2"]
    )
    profile = tf.compat.v1.profiler.profile(
        frozen.graph, options=options.with_empty_output().build()
    )
    return profile.total_float_ops
