"""Valid files of every kind that we read, of a tiny network, to be damaged."""

import dataclasses
import json
import pathlib
import pickle
import struct
import zipfile

import h5py
import keras
import numpy as np
import safetensors.numpy

import samples
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder, plan, registry, variants
from efficientnet_tf.training import train_config
from efficientnet_tf.weights import loading, torch_files, torch_names

CLASSES = ("a", "b", "c")
LEGACY_MAGIC = torch_files.LEGACY_MAGIC


def make_row():
    """The variant of the network that all files hold."""
    b0 = variants.VARIANTS["efficientnet_b0"]
    return dataclasses.replace(
        b0, width=0.1, stages=b0.stages[:2], head_filters=16, resolution=32
    )


def build():
    """The network that all files hold."""
    row = make_row()
    return builder.build(row, classes=len(CLASSES), input_shape=(32, 32, 3))


def make_arrays(network):
    """{"layer/weight": array} of all weights."""
    return {
        loading.name_weight(layer, variable): np.asarray(variable)
        for layer in network.layers
        for variable in layer.weights
    }


def write_legacy_hdf5(network, path):
    """An .h5 as Keras 2 wrote it, with the model's config."""
    config = json.dumps(
        {"class_name": "Functional", "config": network.get_config()}
    )
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config
        for name, value in make_arrays(network).items():
            layer = name.split("/")[0]
            file[f"model_weights/{layer}/{name}:0"] = value


def to_torch(network):
    """The state dict of lukemelas's network of the same weights."""
    blocks = plan.plan_network(make_row()).blocks
    theirs = {v: k for k, v in torch_names.NAMES["lukemelas"](blocks).items()}
    norms = {v: k for k, v in torch_names._BATCH_NORM.items()}
    state = {}
    for name, value in make_arrays(network).items():
        layer, weight = name.split("/")
        if layer not in theirs:
            continue
        if weight == "kernel":
            order = (2, 3, 0, 1) if layer.endswith("_dwconv") else (3, 2, 0, 1)
            value = value.T if value.ndim == 2 else value.transpose(order)
            weight = "weight"
        state[f"{theirs[layer]}.{norms.get(weight, weight)}"] = (
            np.ascontiguousarray(value)
        )
    return state


def _text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def pickle_tensors(arrays):
    """The pickle that `torch.save` writes of a state dict."""
    body = b"\x80\x02ccollections\nOrderedDict\n)R("
    for number, (name, value) in enumerate(arrays.items()):
        strides = [side // value.itemsize for side in value.strides]
        body += (
            _text(name)
            + b"ctorch._utils\n_rebuild_tensor_v2\n(("
            + _text("storage")
            + b"ctorch\nFloatStorage\n"
            + _text(str(number))
            + _text("cpu")
            + b"J"
            + struct.pack("<i", value.size)
            + b"tQK\x00"
            + _integers(value.shape)
            + _integers(strides)
            + b"\x89ccollections\nOrderedDict\n)RtR"
        )
    return body + b"u."


def write_pth(arrays, path):
    """A .pth as PyTorch writes it since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_tensors(arrays))
        archive.writestr("archive/byteorder", "little")
        for number, value in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{number}", value.tobytes())


def write_old_pth(arrays, path):
    """A .pth as PyTorch wrote it before 1.6."""
    with open(path, "wb") as file:
        pickle.dump(torch_files.LEGACY_MAGIC, file, 2)
        pickle.dump(torch_files.LEGACY_PROTOCOL, file, 2)
        pickle.dump({"little_endian": True}, file, 2)
        file.write(pickle_tensors(arrays))
        pickle.dump([str(i) for i in range(len(arrays))], file, 2)
        for value in arrays.values():
            file.write(struct.pack("<q", value.size) + value.tobytes())


def make_all(folder):
    """Writes one file of each kind; returns {kind: path}."""
    import tensorflow as tf

    folder = pathlib.Path(folder)
    network = build()
    arrays, state = make_arrays(network), to_torch(network)
    made = {
        "h5": folder / "a.h5",
        "weights.h5": folder / "a.weights.h5",
        "keras": folder / "a.keras",
        "pth": folder / "a.pth",
        "old pth": folder / "old.pth",
        "safetensors": folder / "a.safetensors",
        "checkpoint": folder / "tf1" / "model.ckpt.index",
        "objects": folder / "tf2" / "model.index",
        "run": folder / "run" / "model.keras",
        "settings": folder / "run" / "classifier.json",
        "config": folder / "run" / "config.json",
        "variant": folder / "variant.json",
        "state": folder / "step_000000001" / "state.npz",
    }
    for path in made.values():
        path.parent.mkdir(exist_ok=True)
    write_legacy_hdf5(network, made["h5"])
    loading.save(network, made["weights.h5"])
    network.save(made["keras"])
    write_pth(state, made["pth"])
    write_old_pth(state, made["old pth"])
    safetensors.numpy.save_file(state, made["safetensors"])
    samples.write_checkpoint(folder / "tf1" / "model.ckpt", arrays)
    tf.train.Checkpoint(model=network).write(str(folder / "tf2" / "model"))
    classifier.Classifier(network, CLASSES, 32, "bilinear").save(folder / "run")
    config = dataclasses.asdict(train_config.TrainConfig())
    config |= {"dataset": "folder:x", "splits": ["train", "test"]}
    config["network"] = dataclasses.asdict(make_row())
    made["config"].write_text(json.dumps(config))
    registry.write_file(made["variant"], make_row())
    np.savez(
        made["state"], **{f"{i:05d}": v for i, v in enumerate(arrays.values())}
    )
    keras.backend.clear_session()
    return made


def write_exported(folder, kind):
    """Writes the network for another runtime; returns the file."""
    from efficientnet_tf.deploy import formats, source

    row = formats.SUFFIXES[f".{kind}"]
    path = pathlib.Path(folder) / f"a.{kind}"
    made = classifier.Classifier(build(), CLASSES, 32, "bilinear")
    row.load_module(*row.runtime).write(
        made, source.prepare(made), path, "float32"
    )
    return path
