"""Logits of timm and torchvision, where PyTorch is installed."""

import json

import numpy as np
import pytest
import safetensors.numpy

from efficientnet_tf.models import variants
from efficientnet_tf.weights import families, loading

pytestmark = pytest.mark.torch

SIZE = 128


def make_timm(name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name).to_dict()
    return timm.create_model(name), {
        "architecture": name,
        "pretrained_cfg": {key: config[key] for key in ("mean", "std")},
    }


def make_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.get_model(name), None


def make_lukemelas(name):
    package = pytest.importorskip("efficientnet_pytorch")
    return package.EfficientNet.from_name(name), None


def randomize(network):
    """Gives batch normalization random scales and statistics."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            # Below 0.5 the outputs of the deep ones grow to thousands.
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def their_logits(network, x, normalization):
    import torch

    y = ((x - normalization.mean) / normalization.std).astype("float32")
    with torch.no_grad():
        y = torch.from_numpy(y.transpose(0, 3, 1, 2).copy())
        return network(y).numpy()


CASES = {
    "timm efficientnet_b0": (make_timm, "efficientnet_b0"),
    "timm efficientnet_b3": (make_timm, "efficientnet_b3"),
    "timm efficientnet_lite0": (make_timm, "efficientnet_lite0"),
    "timm tf_efficientnet_b0": (make_timm, "tf_efficientnet_b0"),
    "timm tf_efficientnet_lite0": (make_timm, "tf_efficientnet_lite0"),
    "torchvision B0": (make_torchvision, "efficientnet_b0"),
    "torchvision B5": (make_torchvision, "efficientnet_b5"),
    "lukemelas B0": (make_lukemelas, "efficientnet-b0"),
}


@pytest.mark.parametrize("case", CASES)
def test_their_weights_give_their_logits(tmp_path, case):
    make, theirs = CASES[case]
    network, config = make(theirs)
    randomize(network)
    path = tmp_path / "model.safetensors"
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    safetensors.numpy.save_file(state, path)
    normalization = variants.NORMALIZATIONS["imagenet"]
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        stated = families.identify(path, "timm").normalization
        normalization = stated or normalization
    name = theirs.replace("-", "_").removeprefix("tf_")
    ours = loading.build(
        name,
        weights=path,
        input_shape=(SIZE, SIZE, 3),
        classifier_activation=None,
    )
    x = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3))
    x = x.astype("float32")
    wanted = their_logits(network, x, normalization)
    found = ours.predict(x, verbose=0)
    print(f"{case}: {np.abs(found - wanted).max():.2g} of {np.ptp(wanted):.3g}")
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
