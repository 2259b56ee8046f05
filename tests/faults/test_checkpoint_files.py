"""Hostile TensorFlow checkpoints, which would end the process, and run folders.

TensorFlow checks some records of an index by aborting: none may reach it.
"""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

import fuzz
import hostile_files
from efficientnet_tf.inference import (
    classifier,
    settings as settings_lib,
    signatures,
)
from efficientnet_tf.training import checkpoints
from efficientnet_tf.utils import run_folder, untrusted
from efficientnet_tf.weights import readers

SIX = np.arange(6, dtype="f4")


def varint(value):
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def record(key, value, shared=0, size=None):
    size = len(value) if size is None else size
    return varint(shared) + varint(len(key)) + varint(size) + key + value


def block(records, kind=b"\0"):
    data = b"".join(records) + bytes(4) + (1).to_bytes(4, "little")
    total = fuzz._mask(fuzz._crc32c(data + kind))
    return data + kind + total.to_bytes(4, "little")


def make_table(records, handles=None, kind=b"\0"):
    """An index with one block of records, its check sums right."""
    first = block(records, kind)
    rest = block([])
    place = len(first) + len(rest)
    handles = handles or [varint(0) + varint(len(first) - 5)]
    index = block([record(b"z", handle) for handle in handles])
    footer = varint(len(first)) + varint(len(rest) - 5)
    footer += varint(place) + varint(len(index) - 5)
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    return first + rest + index + footer.ljust(40, b"\0") + magic


def header(**fields):
    return tensor_bundle_pb2.BundleHeaderProto(
        **{"num_shards": 1, **fields}
    ).SerializeToString()


def entry(*sides, **fields):
    made = tensor_bundle_pb2.BundleEntryProto(
        **{"dtype": 1, "size": 24, **fields}
    )
    for side in sides:
        made.shape.dim.add(size=side)
    return made.SerializeToString()


def one(value, first=None):
    first = header() if first is None else first
    return make_table([record(b"", first), record(b"a", value)])


SLICED = tensor_bundle_pb2.BundleEntryProto(dtype=1, size=24)
SLICED.shape.dim.add(size=6)
SLICED.slices.add().extent.add(start=0)
UNKNOWN = tensor_bundle_pb2.BundleEntryProto(dtype=1, size=24)
UNKNOWN.shape.unknown_rank = True

INDEXES = {
    "nothing": b"",
    "words": b"words " * 20,
    "a record that is no entry": one(b"\xff\xff\xff"),
    "an empty table": make_table([]),
    "a header that is no header": one(entry(6), b"\xff\xff"),
    "no header": make_table([record(b"a", entry(6))]),
    "no data file": one(entry(6), header(num_shards=0)),
    "a million data files": one(entry(6), header(num_shards=10**6)),
    "data of a big-endian machine": one(entry(6), header(endianness=1)),
    "a negative side": one(entry(-6)),
    "sides that overflow": one(entry(1 << 61, 1 << 61, 1 << 61)),
    "a terabyte": one(entry(1 << 38, size=1 << 40)),
    "a shape of unknown rank": one(UNKNOWN.SerializeToString()),
    "another shape than its bytes": one(entry(7)),
    "a type of no number": one(entry(6, dtype=20)),
    "an unknown type": one(entry(6, dtype=99)),
    "a place before its file": one(entry(6, offset=-4)),
    "a place after its file": one(entry(6, offset=4)),
    "a size below 0": one(entry(6, size=-24)),
    "another data file": one(entry(6, shard_id=1)),
    "a data file below 0": one(entry(6, shard_id=-1)),
    "a tensor in slices": one(SLICED.SerializeToString()),
    "a million texts in no bytes": one(entry(10**9, dtype=7, size=24)),
    "a compressed block": make_table([record(b"", header())], kind=b"\1"),
    "a key from before its beginning": make_table(
        [record(b"", header()), record(b"a", entry(6), shared=9)]
    ),
    "a value beyond its block": make_table([record(b"", header(), size=999)]),
    "a number without end": make_table([b"\xff" * 20]),
    "a block beyond the file": make_table([], [varint(0) + varint(10**6)]),
    "a block twice": make_table(
        [record(b"", header())], 2 * [varint(0) + varint(20)]
    ),
    "ends within its footer": one(entry(6))[:-20],
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_refused_with(name, tmp_path):
    (tmp_path / "x.index").write_bytes(INDEXES[name])
    (tmp_path / "x.data-00000-of-00001").write_bytes(SIX.tobytes())
    with pytest.raises(untrusted.DamagedError) as caught:
        readers.read(tmp_path / "x.index")
    text = str(caught.value)
    assert f"{tmp_path / 'x'} is damaged: " in text and "\n" not in text


def test_the_tables_here_are_tables(tmp_path):
    # Without this, a mistake in making them would pass as a defence.
    total = fuzz._mask(fuzz._crc32c(SIX.tobytes()))
    (tmp_path / "x.index").write_bytes(one(entry(6, crc32c=total)))
    (tmp_path / "x.data-00000-of-00001").write_bytes(SIX.tobytes())
    found = readers.read(tmp_path / "x.index").arrays
    np.testing.assert_array_equal(found["a"], SIX)


def test_flipped_bits_of_data_are_found(tmp_path):
    total = fuzz._mask(fuzz._crc32c(SIX.tobytes()))
    (tmp_path / "x.index").write_bytes(one(entry(6, crc32c=total)))
    for place in range(24):
        data = bytearray(SIX.tobytes())
        data[place] ^= 16
        (tmp_path / "x.data-00000-of-00001").write_bytes(data)
        with pytest.raises(untrusted.DamagedError, match="x is damaged"):
            readers.read(tmp_path / "x.index")


# A run's state ---------------------------------------------------------------


def npy(shape, dtype="<f4"):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    size = len(text).to_bytes(2, "little")
    return b"\x93NUMPY\1\0" + size + text.encode() + SIX.tobytes()


STATES = {
    "a terabyte": npy("(274877906944,)"),
    "a shape below 0": npy("(-6,)"),
    "objects": npy("(6,)", "|O"),
    "fewer bytes than its shape": npy("(6,)", "<f2"),
    "a header that is code": npy("__import__('os')"),
    "a header of many brackets": npy("(" * 5000),
    "no header": b"",
}


class Variable:
    shape = (6,)

    def assign(self, value):
        raise AssertionError("assigned")


@pytest.mark.parametrize("name", STATES)
def test_a_checkpoint_of_a_run_is_refused_with(name, tmp_path):
    with zipfile.ZipFile(tmp_path / checkpoints.STATE_FILE, "w") as archive:
        archive.writestr("00000.npy", STATES[name])
    with pytest.raises(untrusted.DamagedError, match="state.npz is damaged"):
        checkpoints.load(tmp_path, [Variable()])


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path):
    for name in ("step_x", "step_", "step_-1", "step_000000002"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_000000002" / "about.json").write_text("[3]")
    found = [path.name for path in checkpoints.list_newest(tmp_path)]
    assert found == ["step_000000002"]
    assert checkpoints.find_best(tmp_path) is None


# Its documents ---------------------------------------------------------------

SOUND = {
    "class_names": ["a", "b", "c"],
    "resolution": 32,
    "interpolation": "bilinear",
}
SETTINGS = {
    "null": "null",
    "a list": "[1]",
    "a number": "3",
    "a text": '"x"',
    "words": "{",
    "nothing": "",
    "no text": "\\udcff",
    "NaN": '{"resolution": NaN}',
    "brackets": "[" * 100_000,
    **{
        f"{field}={value!r}": json.dumps({**SOUND, field: value})
        for field, value in (
            ("class_names", "abc"), ("class_names", 3), ("class_names", []),
            ("class_names", [1, 2, 3]), ("class_names", {"a": 1}),
            ("class_names", None), ("class_names", [["a"], "b", "c"]),
            ("resolution", 0), ("resolution", "224"), ("resolution", -1),
            ("resolution", 10**30), ("resolution", 10**400),
            ("resolution", 1.5), ("resolution", True), ("resolution", 10**6),
            ("crop_padding", -1), ("crop_padding", "32"),
            ("interpolation", "best"), ("interpolation", None),
            ("deep_pixels", "x"), ("one_too_many", 1),
        )
    },
    **{
        f"without {field}": json.dumps(
            {k: v for k, v in SOUND.items() if k != field}
        )
        for field in SOUND
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_refused_when(name, tmp_path):
    path = tmp_path / run_folder.SETTINGS_FILE
    path.write_bytes(SETTINGS[name].encode())
    with pytest.raises(untrusted.DamagedError) as caught:
        settings_lib.read_settings(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, with a network of three classes for 32 pixels."""
    folder = tmp_path_factory.mktemp("run")
    made = classifier.Classifier(
        hostile_files.build(), hostile_files.CLASSES, 32, "bilinear"
    )
    made.save(folder)
    return folder


@pytest.mark.parametrize(
    "change,message",
    [
        ({"class_names": ["a", "b"]}, "names 2 classes"),
        ({"resolution": 64}, "says images .N, 64, 64, 3."),
    ],
)
def test_settings_of_another_network_are_refused(run, change, message):
    path = run / run_folder.SETTINGS_FILE
    path.write_text(json.dumps({**SOUND, **change}))
    with pytest.raises(untrusted.DamagedError, match=message):
        classifier.from_run(run)
    path.write_text(json.dumps(SOUND))


CONFIGS = ["[]", "3", "null", '"x"', "{", "[" * 5000, '{"splits": 3}']
CONFIGS += ['{"splits": [3]}', '{"task": []}', '{"dataset": 3}']
CONFIGS += ['{"train_on": {}}', '{"group_by": 3}', '{"pipeline": "x"}']


@pytest.mark.parametrize("text", CONFIGS)
def test_a_runs_config_is_refused_with(text, tmp_path):
    path = tmp_path / run_folder.CONFIG_FILE
    path.write_text(text)
    for read in (
        lambda: run_folder.read_group_by(tmp_path, "folder:x"),
        lambda: run_folder.check_run(path, {"epochs": 1}),
    ):
        with pytest.raises(untrusted.DamagedError, match="config.json"):
            read()


@pytest.mark.parametrize("text", ["[]\n", "3\n", "null\n", '"x"\n'])
def test_a_result_that_is_no_object_is_left_out(text, tmp_path, caplog):
    (tmp_path / run_folder.RESULTS_FILE).write_text(text)
    with caplog.at_level("INFO", "absl"):
        assert run_folder.last_result(tmp_path) is None
    assert "results.jsonl, line 1 is left out" in caplog.text


# SavedModels as teachers -----------------------------------------------------


def images(*shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name="images")


def pooled(x):
    x = tf.cast(x, tf.float32)
    return {"probabilities": tf.reshape(x, (tf.shape(x)[0], -1))[:, :3]}


def cut(x):
    return {
        "probabilities": tf.ensure_shape(pooled(x)["probabilities"], (None, 3))
    }


SIGNATURES = {
    "one image": (images(1, 8, 8, 3), cut, r"takes float32 \(1, 8, 8, 3\)"),
    "rows": (images(None, 3), cut, r"takes float32 \(None, 3\)"),
    "bytes": (images(None, 8, 8, 3, dtype=tf.uint8), cut, "takes uint8"),
    "four channels": (images(None, 8, 8, 4), cut, "takes float32"),
    "any number of classes": (images(None, 8, 8, 3), pooled, r"gives float32"),
    "whole numbers": (
        images(None, 8, 8, 3),
        lambda x: {"probabilities": tf.cast(cut(x)["probabilities"], tf.int32)},
        "gives int32",
    ),
    "an image": (images(None, 8, 8, 3), lambda x: {"y": x}, "gives float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_is_checked_before_training(name, tmp_path):
    spec, function, message = SIGNATURES[name]
    module = tf.Module()
    made = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), signatures=made)
    with pytest.raises(untrusted.DamagedError, match=message) as caught:
        signatures.SavedModel(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_saved_model_is_one_line(tmp_path):
    (tmp_path / signatures.SAVED_MODEL_FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(untrusted.DamagedError) as caught:
        signatures.SavedModel(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
