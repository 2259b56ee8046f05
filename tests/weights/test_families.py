"""Whose PyTorch weights a file holds, and the network that they need."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import safetensors.numpy

from efficientnet_tf.models import blocks, builder, layers, plan, variants
from efficientnet_tf.weights import (
    families,
    loading,
    name_maps,
    readers,
    torch_names,
)

B0 = "efficientnet_b0"
ADVPROP = variants.NORMALIZATIONS["advprop"]
IMAGENET = variants.NORMALIZATIONS["imagenet"]


@pytest.mark.parametrize(
    "path,architecture,family,evidence",
    [
        # Files and ids of timm 1.0.
        ("efficientnet_b0_ra-3dd342df.pth", None, "timm", "file's name"),
        ("tf_efficientnet_b0_ap-f262efe1.pth", None, "timm_tf", "file's name"),
        ("efficientnet_lite0_ra-37913777.pth", None, "timm", "file's name"),
        ("tf_efficientnet_l2_ns_475-bebbd00a.pth", None, "timm_tf", "file's"),
        ("efficientnet_b3.ra2_in1k.safetensors", None, "timm", "file's name"),
        ("efficientnet_b1-533bc792.pth", None, "timm", "file's name"),
        ("tf_efficientnetv2_b0-c7cc451f.pth", None, "timm_tf", "file's name"),
        ("tf_efficientnetv2_xl_in21ft1k-06c35c48.pth", None, "timm_tf", "file"),
        ("tf_efficientnetv2_s.in21k_ft_in1k.pth", None, "timm_tf", "file's"),
        ("best.pth", "tf_efficientnetv2_m_21k", "timm_tf", "name in the file"),
        ("best.pth", "efficientnetv2_s", "timm", "name in the file"),
        ("tf_efficientnet_lite4-741542c3.pth", None, "timm_tf", "file's name"),
        ("efficientnet_b0.ra4_e3600_r224_in1k.pth", None, "timm", "file's"),
        ("tf_efficientnet_l2.ns_jft_in1k_475.bin", None, "timm_tf", "file's"),
        ("efficientnet_b5.sw_in12k_ft_in1k.pth.tar", None, "timm", "file's"),
        (
            "timm/efficientnet_b0.ra_in1k/model.safetensors",
            None,
            "timm",
            "fold",
        ),
        (
            "models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/0a1/"
            "model.safetensors",
            None,
            "timm_tf",
            "folder's name",
        ),
        (
            "tf_efficientnet_b0.ns_jft_in1k/efficientnet_b0_best.pth",
            None,
            "timm_tf",
            "folder's name",
        ),
        # What the file calls its network.
        ("best.pth", "efficientnet_b2", "timm", "name in the file"),
        ("best.pth", "tf_efficientnet_b2", "timm_tf", "name in the file"),
        ("best.pth", "tf_efficientnet_b2_ns", "timm_tf", "name in the file"),
        ("best.pth", "efficientnet_b3a", "timm", "name in the file"),
        ("best.pth", "hf-hub:timm/efficientnet_b2.ra_in1k", "timm", "in the"),
    ],
)
def test_timms_networks_are_told_apart(path, architecture, family, evidence):
    found = families.identify(path, "timm", architecture)
    assert found.family == family
    assert evidence in found.evidence


@pytest.mark.parametrize("layout", ["torchvision", "lukemelas"])
def test_others_are_told_by_their_tensors_names(layout):
    # Whatever the file is called.
    found = families.identify("tf_efficientnet_b0.pth", layout)
    assert found.family == layout
    assert families.identify("x.pth", layout, None, layout).family == layout


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "efficientnet-b0.pth",
        "my_efficientnet.pth",
        # Names that people give, whichever network they started from.
        "efficientnet_b0.pth",
        "tf_efficientnet_b0.pth",
        "my_efficientnet_b0_finetuned.pth",
        "efficientnet_b0_best.pth",
        "efficientnet_b0.best.pth",
        "efficientnet_b0_tf.pth",
        "not_tf_efficientnet_b0.pth",
        "student_from_tf_efficientnet_b7.pth",
        "efficientnet_b0_distilled_from_tf_efficientnet_b7.pth",
        "my_efficientnet_b0_ra-3dd342df.pth",
        "efficientnet_b0_ra-3dd342df_finetuned.pth",
        "efficientnet_b0.ra_in1k_finetuned.pth",
        # A commit, a date.
        "efficientnet_b0-1a2b3c4d.pth",
        "efficientnet_b0_best-1a2b3c4d.pth",
        "efficientnet_b0_ra-20240131.pth",
        # Networks that we do not have.
        "efficientnetv2_rw_s.ra2_in1k.pth",
        "efficientnetv2_s-1a2b3c4d.pth",
        "efficientnet_blur_b0.in1k.pth",
        # A folder that somebody named so holds anything.
        "tf_efficientnet_b0_ns/run1.pth",
        "efficientnet_b0/best.pth",
        "efficientnet_tf/best.pth",
    ],
)
def test_what_does_not_tell_is_asked_for(path):
    with pytest.raises(ValueError, match="source_family.*timm or timm_tf"):
        families.identify(path, "timm")
    assert families.identify(path, "timm", None, "timm_tf").family == "timm_tf"


@pytest.mark.parametrize(
    "layout,source_family,message",
    [
        ("timm", "tim", "Did you mean 'timm'"),
        ("timm", "keras", "one of timm, timm_tf, torchvision, lukemelas"),
        ("torchvision", "timm", "has the names of torchvision"),
        ("timm", "lukemelas", "has the names of timm"),
    ],
)
def test_a_family_that_cannot_be_is_refused(layout, source_family, message):
    with pytest.raises(ValueError, match=message):
        families.identify("x.pth", layout, None, source_family)


def write_config(folder, **fields):
    (folder / "config.json").write_text(json.dumps(fields))
    return folder / "model.safetensors"


HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3}


def test_timms_config_tells_the_network_and_the_normalization(tmp_path):
    path = write_config(tmp_path, architecture=B0, pretrained_cfg=HALVES)
    found = families.identify(path, "timm")
    assert (found.family, found.evidence) == ("timm", "by config.json")
    assert found.normalization == ADVPROP
    # As files before 2024 had it.
    write_config(tmp_path, architecture=f"tf_{B0}", **HALVES)
    found = families.identify(path, "timm")
    assert (found.family, found.normalization) == ("timm_tf", ADVPROP)
    # Of another library: it says nothing.
    write_config(tmp_path, architectures=["EfficientNet"])
    with pytest.raises(ValueError, match="neither its name nor a config"):
        families.identify(path, "timm")


def test_evidence_that_disagrees_is_not_chosen_from(tmp_path):
    write_config(tmp_path, architecture=B0, pretrained_cfg=HALVES)
    path = tmp_path / "tf_efficientnet_b0.pth"
    with pytest.raises(ValueError, match="config.json says timm and .*timm_tf"):
        families.identify(path, "timm")
    for name in ("efficientnet_b0_best.pth", "from_tf_efficientnet_b7.pth"):
        assert families.identify(tmp_path / name, "timm").family == "timm"
    folder = tmp_path / "efficientnet_b0.ra_in1k"
    with pytest.raises(ValueError, match="folder's name says timm and"):
        families.identify(folder / "tf_efficientnet_b0.pth", "timm")
    assert families.identify(path, "timm", None, "timm").family == "timm"


@pytest.mark.parametrize("other", ["efficientnet_blur_b0", "resnet50", ""])
def test_another_network_is_not_taken_for_one_of_ours(tmp_path, other):
    path = write_config(tmp_path, architecture=other)
    with pytest.raises(ValueError, match=f"config.json says '{other}': "):
        families.identify(path, "timm")
    name = "efficientnet_b0_ra-3dd342df.pth"
    with pytest.raises(ValueError, match=f"name in the file says '{other}' a"):
        families.identify(name, "timm", other)


def test_a_networks_name_in_the_file_tells_the_normalization():
    found = [
        families.identify("x.pth", "timm", name).normalization
        for name in (
            "tf_efficientnet_b0_ap",
            "timm/efficientnet_b0.ra4_e3600_r224_in1k",
            "tf_efficientnet_b0.ns_jft_in1k",
        )
    ]
    assert found == [ADVPROP, ADVPROP, None]


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"model_args": {"pad_type": "same"}}, "built with pad_type"),
        ({"model_args": {"bn_eps": 0.01, "drop_rate": 0.1}}, "with bn_eps, wh"),
        ({"model_args": {"global_pool": "max"}}, "built with global_pool"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5]}}, "three numbers"),
        ({"pretrained_cfg": {"mean": "a", "std": "b"}}, "three numbers"),
    ],
)
def test_a_config_of_another_graph_is_refused(tmp_path, fields, message):
    path = write_config(tmp_path, architecture=B0, **fields)
    with pytest.raises(ValueError, match=message):
        families.identify(path, "timm")


@pytest.mark.parametrize(
    "path,found",
    [
        # tensorflow/tpu: archives, and what is in them.
        ("ckpts/advprop/efficientnet-b0.tar.gz", "advprop"),
        ("advprop/efficientnet-b0/model.ckpt", "advprop"),
        ("noisystudent/noisy_student_efficientnet-b7/model.ckpt", "plain"),
        ("ckptsaug/efficientnet-b0/model.ckpt", "plain"),
        ("randaug/efficientnet-b5-randaug.tar.gz", "plain"),
        ("efficientnet-b0/model.ckpt", None),
        ("ckpts/efficientnet-b0", None),  # Many folders are called so.
        # timm.
        ("tf_efficientnet_b0.ap_in1k/model.safetensors", "advprop"),
        ("tf_efficientnet_b8_ap-00e169fa.pth", "advprop"),
        # Of V2's B, those of ImageNet-21k were trained as S to XL are.
        ("tf_efficientnetv2_b3.in21k_ft_in1k/model.safetensors", "advprop"),
        ("efficientnetv2-b0-21k-ft1k.h5", "advprop"),
        ("tf_efficientnetv2_b3.in1k/model.safetensors", "plain"),
        ("tf_efficientnetv2_s.in21k/model.safetensors", "plain"),
        ("efficientnet_b0.ra4_e3600_r224_in1k/model.safetensors", "advprop"),
        ("efficientnet_b0.ra_in1k/model.safetensors", "plain"),
        ("tf_efficientnet_b0_ns-c0e6a31c.pth", "plain"),
        ("tf_efficientnet_b0-0af12548.pth", "plain"),
        ("efficientnet_b0.pth", None),
        ("efficientnet_b0_best.pth", None),
        ("student_of_tf_efficientnet_b7_ap.pth", None),
        # lukemelas, torchvision, qubvel.
        ("adv-efficientnet-b0-b64d5a18.pth", "advprop"),
        ("efficientnet-b0-355c32eb.pth", "plain"),
        ("efficientnet_b5_lukemelas-1a07897c.pth", "plain"),
        ("efficientnet-b0_noisy-student.h5", "plain"),
        ("capture/apple/model.pth", None),
    ],
)
def test_names_tell_the_normalization(path, found):
    assert families.normalization_by_name(f"/data/{path}") == found


def test_torchvisions_large_ones_have_tensorflows_epsilon():
    # partial(nn.BatchNorm2d, eps=0.001, ...) in its efficientnet_b5 to b7.
    found = [
        families.epsilon("torchvision", variants.VARIANTS[f"efficientnet_b{i}"])
        for i in range(8)
    ]
    assert found == [1e-5] * 5 + [1e-3] * 3
    b5 = variants.VARIANTS["efficientnet_b5"]
    smaller = dataclasses.replace(b5, resolution=64)
    assert families.epsilon("torchvision", smaller) == 1e-3
    assert families.epsilon("timm", b5) == 1e-5


def test_another_epsilon_is_made_up_for_exactly():
    rng = np.random.default_rng(0)
    variance = np.concatenate([rng.uniform(0, 1e-3, 16), [0, 1e-5, 1, 100]])
    gamma, x = rng.normal(size=(2, 20))
    arrays = {
        "features.0.0.weight": np.zeros((20, 3, 3, 3)),
        "features.0.1.weight": gamma,
        "features.0.1.running_var": variance,
    }
    layout = torch_names.find_layout(arrays)
    assert layout == ("torchvision", "")
    rows = plan.plan_network(B0).blocks
    found = torch_names.rename(arrays, layout, rows, 1e-5)
    np.testing.assert_array_equal(found["stem_bn/moving_variance"], variance)
    np.testing.assert_allclose(
        x * found["stem_bn/gamma"] / np.sqrt(variance + blocks.BN_EPSILON),
        x * gamma / np.sqrt(variance + 1e-5),
        rtol=1e-6,
    )
    same = torch_names.rename(arrays, layout, rows)
    np.testing.assert_array_equal(same["stem_bn/gamma"], gamma)


@pytest.fixture(scope="module")
def row(tiny_row):
    return dataclasses.replace(tiny_row, resolution=64)


def write_torch(path, network, prefix=""):
    """Writes a network's weights under timm's names."""
    blocks = plan.plan_network(network).blocks
    theirs = {v: k for k, v in torch_names.NAMES["timm"](blocks).items()}
    norms = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    state = {}
    for layer in builder.build(network, classes=3).layers:
        for weight in layer.weights:
            value = np.asarray(weight) + 0.1
            if weight.name == "kernel":
                axes = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
                if layer.name.endswith("_dwconv"):
                    axes = (2, 3, 0, 1)
                value = value.transpose(axes)
            name = norms.get(weight.name, weight.name).replace(
                "kernel", "weight"
            )
            key = f"{prefix}{theirs[layer.name]}.{name}"
            state[key] = np.ascontiguousarray(value)
    safetensors.numpy.save_file(state, path)
    return path


def test_a_named_network_gets_the_padding_of_its_weights(
    row, tmp_path, monkeypatch, caplog
):
    monkeypatch.setitem(variants.VARIANTS, "tiny", row)
    path = write_torch(tmp_path / "efficientnet_b0_ra-3dd342df.pth", row)
    with caplog.at_level("INFO", "absl"):
        network = loading.build("tiny", weights=path, classes=3)
    assert network.name == "tiny"
    assert network.get_layer(layers.STEM_PADDING).padding == ((1, 1), (1, 1))
    (line,) = [r.message for r in caplog.records if "weights of" in r.message]
    assert line.endswith(
        "weights of timm (by the file's name): symmetric padding, batch-norm "
        "epsilon 1e-05 folded into the scales; normalization 'imagenet' (by "
        "the file's name; --normalization or normalization= sets another)."
    )
    # What we save of it tells again how it pads.
    for name in ("x.weights.h5", "x.keras"):
        file = tmp_path / name
        network.save(file) if name == "x.keras" else loading.save(network, file)
        assert name_maps.read(file, "tiny").padding == "symmetric"
        again = loading.build("tiny", weights=file, classes=3)
        x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3))
        np.testing.assert_allclose(again(x), network(x), atol=1e-6)


def test_a_variant_must_pad_as_its_weights(row, tmp_path):
    path = write_torch(tmp_path / "tf_efficientnet_b0_aa-827b6e33.pth", row)
    with pytest.raises(ValueError, match="padding='symmetric', but .*'same'"):
        loading.build(row, weights=path, classes=3, source_family="timm")
    symmetric = dataclasses.replace(row, padding="symmetric")
    with pytest.raises(ValueError, match="padding='same', but .*'symmetric'"):
        loading.build(symmetric, weights=path, classes=3)
    checkpoint = name_maps.read(path, row, source_family="timm")
    with pytest.raises(ValueError, match="build it with"):
        loading.assign(builder.build(row, classes=3), checkpoint)
    loading.assign(builder.build(symmetric, classes=3), checkpoint)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_keras_itself_loads_no_weights_into_another_padding(row, tmp_path):
    same, symmetric = (
        builder.build(dataclasses.replace(row, padding=padding), classes=3)
        for padding in ("same", "symmetric")
    )
    same.save_weights(tmp_path / "same.weights.h5")
    symmetric.save(tmp_path / "symmetric.keras")
    for network, message, file in (
        (same, "'symmetric', this one 'same'", "symmetric.keras"),
        (symmetric, "'same', this one 'symmetric'", "same.weights.h5"),
    ):
        with pytest.raises(ValueError, match=f"padding={message}"):
            network.load_weights(tmp_path / file)
    same.load_weights(tmp_path / "same.weights.h5")
    keras.models.load_model(tmp_path / "symmetric.keras")


def test_a_network_within_a_larger_one_is_found(row, tmp_path):
    alone = write_torch(tmp_path / "tf_efficientnet_b0.in1k.safetensors", row)
    wanted = name_maps.read(alone, row).arrays
    inner = write_torch(
        tmp_path / "tf_efficientnet_b1.in1k.pth", row, "net.body."
    )
    assert set(name_maps.read(inner, row).arrays) == set(wanted)
    both = ["a.conv_stem.weight", "b.conv_stem.weight"]
    with pytest.raises(ValueError, match=r"several networks: a.\*, b.\*"):
        torch_names.find_layout(both)


@pytest.mark.parametrize(
    "name,family,given,wanted,note",
    [
        ("tf_efficientnet_b0.pth", "timm_tf", None, IMAGENET, "(assumed"),
        ("tf_efficientnet_b0_ap-f262efe1.pth", None, None, ADVPROP, "name;"),
        ("tf_efficientnet_b0_ap-f262efe1.pth", None, "lite", None, ""),
        ("x.pth", "timm_tf", "advprop", ADVPROP, ""),
    ],
)
def test_the_line_says_how_the_normalization_is_known(
    row, tmp_path, caplog, name, family, given, wanted, note
):
    path = write_torch(tmp_path / name, row)
    with caplog.at_level("INFO", "absl"):
        network = loading.build(
            row,
            weights=path,
            classes=3,
            source_family=family,
            normalization=given,
        )
    wanted = wanted or variants.NORMALIZATIONS[given]
    scale = network.get_layer("preprocessing").scale
    np.testing.assert_allclose(scale, np.divide(1, wanted.std), rtol=1e-6)
    (line,) = [r.message for r in caplog.records if "weights of" in r.message]
    assert note in line and ("normalization" in line) == bool(note)


def test_a_choice_against_the_file_is_said(row, tmp_path, caplog):
    path = tmp_path / "x.weights.h5"
    loading.save(builder.build(row, classes=3), path)
    with caplog.at_level("INFO", "absl"):
        loading.build(row, weights=path, classes=3, normalization="advprop")
    assert (
        "normalization 'advprop' as you chose, though the weights had "
        "'imagenet'" in caplog.text
    )


def test_source_family_is_for_pytorchs_files_only(row, tmp_path):
    path = tmp_path / "x.weights.h5"
    loading.save(builder.build(row, classes=3), path)
    with pytest.raises(ValueError, match="for PyTorch files, which .*x.weigh"):
        loading.build(row, weights=path, source_family="timm")
    with pytest.raises(ValueError, match="published weights 'imagenet'"):
        loading.resolve("efficientnet_lite0", "imagenet", "timm")
    assert readers.read(path).architecture is None
