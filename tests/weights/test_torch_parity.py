"""Logits of timm and torchvision, where PyTorch is installed."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from efficientnet_tf.models import costs, variants
from efficientnet_tf.weights import families, loading

pytestmark = pytest.mark.torch

SIZE = 128


IMAGENET = variants.NORMALIZATIONS["imagenet"]
# The last layer of squeeze-and-excitation in each library.
SE_GATES = ("se.conv_expand", "block.1.fc2", "block.2.fc2", "_se_expand")


def make_images(count):
    pixels = np.random.default_rng(1).uniform(0, 255, (count, 8, 8, 3))
    # Of patches, since single pixels average out within two layers.
    return pixels.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2).astype("float32")


def normalize(images, normalization):
    y = (images - normalization.mean) / normalization.std
    return y.astype("float32").transpose(0, 3, 1, 2).copy()


def make_timm(name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name).to_dict()
    return timm.create_model(name), {
        "architecture": name,
        "pretrained_cfg": {key: config[key] for key in ("mean", "std")},
    }


def our_name(theirs):
    name = theirs.replace("-", "_").removeprefix("tf_")
    return name.replace("efficientnetv2_", "efficientnet_v2_")


def make_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.get_model(name), None


def make_lukemelas(name):
    package = pytest.importorskip("efficientnet_pytorch")
    return package.EfficientNet.from_name(name), None


def randomize(network):
    """Gives batch normalization random scales and statistics.

    The statistics are those of random images, disturbed: with others, outputs
    vanish or explode on their way through the layers, and show nothing.
    """
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    norms = []
    for name, module in network.eval().named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            module.train().momentum = 1.0
            norms.append(module)
        elif name.endswith(SE_GATES):
            torch.nn.init.constant_(module.bias, 2.0)  # Mostly open.
    images = normalize(make_images(8), IMAGENET)
    with torch.no_grad():
        network(torch.from_numpy(images))
        for module in norms:
            spread = module.running_var.sqrt()
            module.running_mean += 0.1 * spread * torch.randn_like(spread)
            module.running_var *= 0.8 + 0.4 * torch.rand_like(spread)
        # Logits of a trained network span about as much.
        head = list(network.eval().modules())[-1]
        span = np.ptp(network(torch.from_numpy(images)).numpy())
        for value in (head.weight, head.bias):
            value *= 10 / span
    return network


def their_logits(network, x, normalization):
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(normalize(x, normalization))).numpy()


CASES = {
    "timm efficientnet_b0": (make_timm, "efficientnet_b0"),
    "timm efficientnet_b3": (make_timm, "efficientnet_b3"),
    "timm efficientnet_lite0": (make_timm, "efficientnet_lite0"),
    "timm tf_efficientnet_b0": (make_timm, "tf_efficientnet_b0"),
    "timm tf_efficientnet_lite0": (make_timm, "tf_efficientnet_lite0"),
    "timm tf_efficientnetv2_b0": (make_timm, "tf_efficientnetv2_b0"),
    "timm tf_efficientnetv2_s": (make_timm, "tf_efficientnetv2_s"),
    "timm efficientnetv2_s": (make_timm, "efficientnetv2_s"),
    "torchvision B0": (make_torchvision, "efficientnet_b0"),
    "torchvision B5": (make_torchvision, "efficientnet_b5"),
    "torchvision V2-S": (make_torchvision, "efficientnet_v2_s"),
    "lukemelas B0": (make_lukemelas, "efficientnet-b0"),
}


def test_all_of_timms_names_tell_its_networks():
    timm = pytest.importorskip("timm")
    checked = 0
    for name in timm.list_models("*efficientnet*", pretrained=True):
        network = name.split(".")[0]
        if our_name(network) not in variants.VARIANTS:
            continue
        url = timm.get_pretrained_cfg(name).url or ""
        for path in (f"{name}/model.safetensors", pathlib.Path(url).name):
            if path:
                family = families.identify(f"/data/{path}", "timm").family
                assert (family == "timm_tf") == network.startswith("tf_"), path
                checked += 1
    assert checked > 90


def test_v2_has_the_parameters_of_timm():
    """V2-XL is not in keras.applications."""
    timm, torch = map(pytest.importorskip, ("timm", "torch"))
    for size in ("s", "xl"):
        with torch.device("meta"):
            theirs = timm.create_model(f"tf_efficientnetv2_{size}")
        count = sum(p.numel() for p in theirs.parameters())
        assert costs.count_costs(f"efficientnet_v2_{size}").params == count


@pytest.mark.parametrize("case", CASES)
def test_their_weights_give_their_logits(tmp_path, case):
    make, theirs = CASES[case]
    network, config = make(theirs)
    randomize(network)
    path = tmp_path / "model.safetensors"
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    safetensors.numpy.save_file(state, path)
    normalization = IMAGENET
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        stated = families.identify(path, "timm").normalization
        normalization = stated or IMAGENET
    name = our_name(theirs)
    ours = loading.build(
        name,
        weights=path,
        input_shape=(SIZE, SIZE, 3),
        classifier_activation=None,
    )
    x = make_images(2)
    wanted = their_logits(network, x, normalization)
    found = ours.predict(x, verbose=0)
    print(f"{case}: {np.abs(found - wanted).max():.2g} of {np.ptp(wanted):.3g}")
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1  # They see the images.
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    if case == "timm efficientnet_b0":
        wrong = loading.build(
            name,
            weights=path,
            source_family="timm_tf",
            input_shape=(SIZE, SIZE, 3),
            classifier_activation=None,
        )
        found = wrong.predict(x, verbose=0)
        assert np.abs(found - wanted).max() > 0.1
