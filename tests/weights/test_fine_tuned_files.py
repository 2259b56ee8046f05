"""Files of models around a network: other heads, models in models, TF2."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.applications import efficientnet as keras_efficientnet

from efficientnet_tf.models import baselines, builder, variants
from efficientnet_tf.weights import loading, name_maps

SIZE = 32
layers = keras.layers

# Keras itself advises against .h5.
pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")


@pytest.fixture(scope="module")
def row(tiny_row):
    return dataclasses.replace(tiny_row, head_filters=1280)


@pytest.fixture(scope="module")
def bases(row):
    """Ours and keras.applications', the same few blocks, with a lively output.

    The images must show in the output: gammas well above 1 see to it.
    """
    ours = builder.build(
        row, include_top=False, input_shape=(SIZE, SIZE, 3), name="mine"
    )
    theirs = keras_efficientnet.EfficientNet(
        0.25,
        1.0,
        SIZE,
        blocks_args=keras_efficientnet.DEFAULT_BLOCKS_ARGS[:2],
        name="theirs",
        include_top=False,
        weights=None,
        input_shape=(SIZE, SIZE, 3),
        weights_name="",
    )
    rng = np.random.default_rng(0)
    for base in (ours, theirs):
        for layer in base.layers:
            if layer.name.endswith("_bn"):
                low = (1.5, -0.1, -0.1, 0.5)
                high = (2.5, 0.1, 0.1, 1.0)
                size = layer.gamma.shape[0]
                layer.set_weights(
                    [rng.uniform(*b, size) for b in zip(low, high, strict=True)]
                )
    return {"ours": ours, "theirs": theirs}


# Each returns a model, its part up to the network's features, and its head.


def nest(base):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomFlip()(inputs)
    features = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(features)
    x = layers.Dense(6, "relu", name="hidden")(x)
    x = layers.BatchNormalization(name="norm")(x)
    # Not this network's classifier, whatever its name.
    outputs = layers.Dense(4, name="predictions")(x)
    features = keras.Model(inputs, features)
    return keras.Model(inputs, outputs), features, "hidden, norm, predictions"


def stack(base):
    augmentation = keras.Sequential(
        [layers.RandomFlip(), layers.RandomZoom(0.1)]
    )
    head = [layers.GlobalMaxPooling2D(), layers.Dense(4, name="species")]
    inputs = keras.Input((SIZE, SIZE, 3))
    return (
        keras.Sequential([inputs, augmentation, base, *head]),
        base,
        "species",
    )


def replace_head(base):
    x = layers.GlobalAveragePooling2D()(base.output)
    outputs = layers.Dense(4, name="species")(x)
    return keras.Model(base.input, outputs), base, "species"


def rescale_first(base):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.Sequential([layers.Rescaling(100.0, offset=[90.0, 100, 110])])(x)
    features = base(x)
    x = layers.GlobalAveragePooling2D()(features)
    outputs = layers.Dense(4, name="species")(x)
    return (
        keras.Model(inputs, outputs),
        keras.Model(inputs, features),
        "species",
    )


def build_in_mixed_precision(base):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        copy = type(base).from_config(base.get_config())
        model, features, head = nest(copy)
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(base.get_weights())
    return model, features, head


WRAPS = (nest, stack, replace_head, rescale_first, build_in_mixed_precision)


def arrays_of(network):
    return {
        loading.name_weight(layer, variable): np.asarray(variable)
        for layer in network.layers
        for variable in layer.weights
        if not layer.name.startswith("normalization")
    }


def read(path, model, caplog):
    """Returns the checkpoint and the one line about it."""
    with caplog.at_level("INFO", logger="absl"):
        checkpoint = name_maps.read(path, model)
    lines = [r.message for r in caplog.records if r.message.startswith("Took")]
    assert len(lines) == 1
    return checkpoint, lines[0]


def check_arrays(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def check_outputs(row, checkpoint, wanted, tolerance=1e-5):
    """Compares features of the network with these weights on two images."""
    network = loading.build(
        row,
        include_top=False,
        input_shape=(SIZE, SIZE, 3),
        normalization=checkpoint.normalization,
    )
    loading.assign(network, checkpoint.arrays)
    images = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3))
    wanted = np.asarray(wanted(images, training=False), np.float32)
    found = np.asarray(network(images, training=False))
    scale = np.abs(wanted).max()
    # Another normalization would show.
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1 * scale
    np.testing.assert_allclose(found, wanted, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: wrap.__name__)
@pytest.mark.parametrize("origin", ["ours", "theirs"])
def test_the_network_in_a_model_is_found_with_its_normalization(
    row, bases, tmp_path, caplog, origin, wrap
):
    model, features, head = wrap(bases[origin])
    model.save(tmp_path / "x.keras")
    model.save(tmp_path / "x.h5")
    model.save_weights(tmp_path / "x.weights.h5")
    wanted = arrays_of(bases[origin])
    found = {}
    for file in ("x.keras", "x.h5", "x.weights.h5"):
        caplog.clear()
        found[file], line = read(tmp_path / file, row, caplog)
        check_arrays(found[file].arrays, wanted)
        left_out = line.split("; left out ")[1].removesuffix(".")
        assert set(left_out.split(", ")) == set(head.split(", "))
    # Without the model's config nobody knows what that layer does.
    unknown = "by values that the file does not state" in caplog.text
    assert unknown == (wrap is rescale_first)
    exact = found["x.keras"]
    assert found["x.h5"].normalization == exact.normalization
    mixed = wrap is build_in_mixed_precision
    check_outputs(row, exact, features, 0.05 if mixed else 1e-5)


def test_of_several_networks_the_one_that_fits_is_taken(
    row, bases, tmp_path, caplog
):
    inputs = keras.Input((SIZE, SIZE, 3))
    other = builder.build(
        dataclasses.replace(row, width=0.5),
        include_top=False,
        input_shape=(SIZE, SIZE, 3),
        name="wider",
    )
    parts = [other, bases["ours"]]
    model = keras.Model(inputs, [part(inputs) for part in parts])
    model.save(tmp_path / "x.h5")
    checkpoint, line = read(tmp_path / "x.h5", row, caplog)
    check_arrays(checkpoint.arrays, arrays_of(bases["ours"]))
    assert line.endswith("from its part mine; left out wider.")
    parts = [bases["theirs"], bases["ours"]]
    model = keras.Model(inputs, [part(inputs) for part in parts])
    model.save(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="2 networks, of which 2 fit: "):
        name_maps.read(tmp_path / "x.h5", row)


def test_another_size_of_network_names_the_first_misfit(row, bases, tmp_path):
    model, _, _ = nest(bases["theirs"])
    model.save(tmp_path / "x.keras")
    with pytest.raises(ValueError) as caught:
        loading.build(
            dataclasses.replace(row, width=0.5), weights=tmp_path / "x.keras"
        )
    assert str(caught.value) == (
        f"{tmp_path / 'x.keras'}: stem_conv/kernel: the file has (3, 3, 3, 8), "
        "efficientnet needs (3, 3, 3, 16)."
    )


def test_qubvels_files_have_another_name_for_the_head(row, tmp_path):
    network = builder.build(row, classes=4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, value in arrays_of(network).items():
            layer, weight = name.split("/")
            layer = "probs" if layer == "predictions" else layer
            weight = "depthwise_kernel" if layer.endswith("dwconv") else weight
            file[f"{layer}/{layer}/{weight}:0"] = value
    checkpoint = name_maps.read(tmp_path / "x.h5", row)
    check_arrays(checkpoint.arrays, arrays_of(network))
    assert not checkpoint.left_out


# What tf.keras 2 tracks: a model's layers by number, a layer's weights by name.
def write_tf2_checkpoint(prefix, network, head):
    def track(layer_weights):
        return tf.train.Checkpoint(
            **{
                name.split("/")[-1]: tf.Variable(value, name=name)
                for name, value in layer_weights
            }
        )

    by_layer = {}
    for name, value in arrays_of(network).items():
        by_layer.setdefault(name.split("/")[0], []).append((name, value))
    inner = {
        f"layer_with_weights-{i}": track(weights)
        for i, weights in enumerate(by_layer.values())
    }
    outer = {
        "layer_with_weights-0": tf.train.Checkpoint(**inner),
        "layer_with_weights-1": track([(f"{head}/kernel", np.ones((2, 3)))]),
        "optimizer": track([("Adam/stem_conv/kernel/m", np.ones(3))]),
    }
    tf.train.Checkpoint(**outer).write(str(prefix))


def test_tensorflows_checkpoints_of_keras_models_are_read(
    row, bases, tmp_path, caplog
):
    network = bases["theirs"]
    write_tf2_checkpoint(tmp_path / "old" / "cp-0001.ckpt", network, "species")
    model, _, _ = stack(network)
    tf.train.Checkpoint(model=model).save(str(tmp_path / "new" / "ck"))
    for folder in ("old", "new"):
        caplog.clear()
        checkpoint, line = read(tmp_path / folder, row, caplog)
        check_arrays(checkpoint.arrays, arrays_of(network))
        assert line.count(",") == 0 and line.endswith("species.")


def test_our_saved_models_are_read_with_their_normalization(row, tmp_path):
    network = builder.build(
        row, classes=3, input_shape=(SIZE, SIZE, 3), normalization="advprop"
    )
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serve", network, [tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)]
    )
    archive.write_out(str(tmp_path / "exported"), verbose=False)
    checkpoint = name_maps.read(tmp_path / "exported", row)
    check_arrays(checkpoint.arrays, arrays_of(network))
    assert checkpoint.normalization == variants.NORMALIZATIONS["advprop"]


@pytest.mark.parametrize("padding", variants.PADDINGS)
def test_a_network_in_a_model_is_known_by_its_padding(
    row, tmp_path, caplog, padding
):
    row = dataclasses.replace(row, padding=padding)
    network = builder.build(
        row, include_top=False, input_shape=(SIZE, SIZE, 3), name="mine"
    )
    model, _, _ = nest(network)
    outer = keras.Sequential([keras.Input((SIZE, SIZE, 3)), model])
    frames = keras.Sequential(
        [keras.Input((2, SIZE, SIZE, 3)), layers.TimeDistributed(network)]
    )
    outer.save(tmp_path / "x.keras")
    outer.save(tmp_path / "x.h5")
    outer.save_weights(tmp_path / "x.weights.h5")
    outer.export(tmp_path / "exported", verbose=False)
    frames.save(tmp_path / "frames.h5")
    caplog.set_level("INFO", "absl")
    for file in tmp_path.iterdir():
        # By a variant that does not say it.
        for usual in variants.PADDINGS:
            other = dataclasses.replace(row, padding=usual)
            assert name_maps.read(file, other).padding == padding, file
    assert "assumed to be" not in caplog.text
    # Without a config nothing names the layers of an inner model.
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file.attrs["model_config"]
    found = name_maps.read(tmp_path / "x.h5", row).padding
    assert found == padding and f"assumed to be '{padding}'" in caplog.text
    # Checkpoints name no layers without weights: the variant decides.
    tf.train.Checkpoint(model=model).save(str(tmp_path / "ck" / "ck"))
    assert name_maps.read(tmp_path / "ck", row).padding == padding


def test_a_transformers_own_files_come_back(tmp_path):
    """Layers of several parts: attention has four kernels."""
    vit = dataclasses.replace(
        baselines.VIT, depth=1 / 12, width=1 / 6, resolution=SIZE
    )
    network = builder.build(vit, classes=3)
    for variable in network.weights:
        variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    network.save(tmp_path / "x.keras")
    loading.save(network, tmp_path / "x.weights.h5")
    images = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3))
    for file in ("x.keras", "x.weights.h5"):
        again = loading.build(vit, classes=3, weights=tmp_path / file)
        assert len(arrays_of(again)) == len(network.weights) == 25
        np.testing.assert_array_equal(again(images), network(images))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_positions_of_patches_keep_their_rows_and_columns(tmp_path, caplog):
    """Of 2 x 8 patches there are as many as of 4 x 4."""
    vit = dataclasses.replace(
        baselines.VIT, depth=1 / 12, width=1 / 6, resolution=64
    )
    shapes = ((32, 128), (128, 32), (64, 64))
    wide, tall, square = (
        builder.build(vit, classes=3, input_shape=(*shape, 3))
        for shape in shapes
    )
    loading.save(wide, tmp_path / "x.weights.h5")
    wide.save(tmp_path / "x.keras")
    for other in (tall, square):
        for file in ("x.weights.h5", "x.keras"):
            with pytest.raises(ValueError, match=r"has \(2, 8, 64\), .* needs"):
                loading.build(
                    vit,
                    classes=3,
                    weights=tmp_path / file,
                    input_shape=other.input_shape[1:],
                )
        with pytest.raises(ValueError, match="could not be loaded"):
            other.load_weights(tmp_path / "x.weights.h5")
    # As earlier versions wrote them: a list, the token's own position first.
    arrays = arrays_of(square)
    layer = "stem_class_token"
    arrays[f"{layer}/positions"] = np.concatenate(
        [
            [arrays.pop(f"{layer}/token_position")],
            arrays[f"{layer}/positions"].reshape(16, -1),
        ]
    )
    again = builder.build(vit, classes=3)
    loading.assign(again, arrays)
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3))
    np.testing.assert_array_equal(again(images), square(images))
    assert "taken for those of a square" in caplog.text
    with pytest.raises(ValueError, match="without rows and .* has 2 x 8"):
        loading.assign(wide, arrays)
