"""Hostile and broken weight files: refused at once, in one line with the name.

Each function makes the bytes that some release of this project, or of a library
below it, read to no good end: a stack trace, a hang, gigabytes, a crash.
"""

import json
import os
import pickle
import socket
import struct
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

import hostile_files
from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import (
    former_names,
    hdf5_files,
    keras_files,
    readers,
)

SECONDS, MEGABYTES = 5, 100  # Of the processor: others may use it, too.


def check_refused(path, read=readers.read):
    """Reads a file that must be refused; returns the message."""
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises((untrusted.DamagedError, OSError)) as caught:
        read(path)
    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    text = str(caught.value)
    assert path.name in text and "\n" not in text and len(text) < 1000
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    assert peak < MEGABYTES * 1e6, f"took {peak / 1e6:.0f} MB"
    return text


# Pickles ---------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = (
    b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
)
STORAGE += b"K\x06tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE


def tensor(offset=b"K\x00", shape=b"K\x06\x85", strides=b"K\x01\x85"):
    return TENSOR + offset + shape + strides + b"\x89}tR"


def one(value):
    """A dictionary of one item."""
    return b"}" + text("a") + value + b"s"


def shaped(shape):
    """A state dict of one tensor of a shape, which is on the stack."""
    return one(tensor(shape=shape + b"\x85"))


DOUBLED = b"N" + 60 * b"2\x86"  # Each a pair of the one before, twice.
DEEP = b"N" + 100_000 * b"\x85"
TERABYTE = struct.pack("<Q", 1 << 40)
HUGE = b"\x8a\x05" + TERABYTE[1:6]  # 2^32.
PICKLES = {
    "a memo's index asks for 16 GB": b"}r\xff\xff\xff\x7f",
    "a key takes 2^60 steps": b"}" + DOUBLED + b"Ns",
    "keys take 2^60 steps": b"}(" + DOUBLED + b"Nu",
    "a key is 100,000 tuples deep": b"}" + DEEP + b"Ns",
    "a value is 100,000 tuples deep": one(DEEP),
    "a storage's name takes 2^60 steps": (
        STORAGE.replace(text("0"), DOUBLED) + b"0}"
    ),
    "items take 2^60 steps": (
        b"ccollections\nOrderedDict\n](" + DOUBLED + b"N\x86e\x85R"
    ),
    "a bytearray of a terabyte": b"\x96" + TERABYTE,
    "a text of a terabyte": b"\x8d" + TERABYTE,
    "a frame of a terabyte": b"\x95" + TERABYTE + b"}",
    "a set of hashed pairs": b"\x8f(" + DOUBLED + b"\x90",
    "a number of 10,000 digits": b"I" + b"9" * 10_000 + b"\n",
    "a name of 100,000 letters": b"c" + b"a" * 100_000 + b"\nb\n",
    "a name without an end": b"c" + b"a" * 100_000,
    "an empty stack": b"0000",
    "a negative shape": shaped(b"J\xff\xff\xff\xff"),
    "a shape that is no number": shaped(b"G\x7f\xf8\0\0\0\0\0\0"),
    "a shape that is a text": shaped(text("6")),
    "a shape that is true": shaped(b"\x88"),
    "a shape of 2^500": shaped(b"\x8a\x40" + b"\xff" * 63 + b"\x0f"),
    "a shape whose product overflows": one(
        tensor(shape=3 * HUGE + b"\x87", strides=b"K\x00K\x00K\x00\x87")
    ),
    "a list as a shape": one(tensor(shape=b"](K\x06e")),
    "a tensor that is changed": one(
        tensor() + b"}" + text("shape") + b"K\x07\x85sb"
    ),
}


def write_zipped(path, body, numbers=6):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/data/0", np.zeros(numbers, "f4").tobytes())


def write_old(path, body):
    with open(path, "wb") as file:
        for value in (hostile_files.LEGACY_MAGIC, 1001, {"little_endian": 1}):
            pickle.dump(value, file, 2)
        file.write(b"\x80\x02" + body + b".")


@pytest.mark.parametrize("write", [write_zipped, write_old])
@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_when(write, name, tmp_path):
    path = tmp_path / "x.pth"
    write(path, PICKLES[name])
    assert "is not a readable PyTorch state dict" in check_refused(path)


def test_a_pickle_has_a_budget_of_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr("efficientnet_tf.weights.pickles._MAX_READS", 1000)
    path = tmp_path / "x.pth"
    write_zipped(path, b"}" + 1000 * b"N0")
    assert "more instructions" in check_refused(path)


def test_twenty_thousand_views_read_their_storage_once(tmp_path):
    path = tmp_path / "x.pth"
    small = tensor(shape=b"K\x01\x85")
    body = b"}(" + b"".join(
        text(str(number)) + small for number in range(20_000)
    )
    write_zipped(path, body + b"u", numbers=1_000_000)
    begin = time.process_time()
    assert len(readers.read(path).arrays) == 20_000
    assert time.process_time() - begin < SECONDS


# Things in place of files ----------------------------------------------------


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_device(path):
    path.symlink_to("/dev/zero")


def make_folder(path):
    path.mkdir()


def make_loop(path):
    path.symlink_to(path)


OTHERS = {
    make_fifo: "is a FIFO",
    make_socket: "is a socket",
    make_device: "is a device",
    make_folder: "director",
    make_loop: "",
}


@pytest.mark.parametrize("make", OTHERS)
def test_what_is_no_file_is_not_opened(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The name of a socket is short.
    path = tmp_path / "x.pth"
    make(path.relative_to(tmp_path) if make is make_socket else path)
    assert OTHERS[make] in check_refused(path)


# HDF5 ------------------------------------------------------------------------


def deep_groups(file):
    group = file
    for _ in range(1000):
        group = group.create_group("a")


def groups_in_a_circle(file):
    file["layers/a/b"] = file["layers"] = file.create_group("c")
    file["c/a/c"] = file["c"]


def a_named_type(file):
    file["layers/conv2d/vars/0"] = np.dtype("f4")


def a_group_for_an_array(file):
    file.create_group("layers/conv2d/vars/0")


def texts_for_numbers(file):
    file["layers/conv2d/vars/0"] = "words"


def records_for_numbers(file):
    file["layers/conv2d/vars/0"] = np.zeros(3, "i4,f4")


def a_name_in_bytes(file):
    file.create_group("layers/conv2d/vars").attrs["name"] = np.void(b"\xff")


def a_name_in_no_encoding(file):
    file.create_group("layers/conv2d/vars").attrs["name"] = b"\xff\xfe"


def many_names(file):
    file.create_group("layers/conv2d/vars").attrs["name"] = ["a", "b"]


def a_terabyte_in_chunks(file):
    file.create_dataset(
        "layers/conv2d/vars/0", (1 << 38,), "f4", chunks=(1 << 10,)
    )


def a_large_chunk_of_little(file):
    file.create_dataset(
        "layers/conv2d/vars/0",
        (4,),
        "f4",
        chunks=(1 << 28,),
        maxshape=(None,),
        compression="gzip",
    )


def a_shape_that_overflows(file):
    file.create_dataset(
        "layers/conv2d/vars/0", (1 << 31, 1 << 31), "f4", chunks=(1, 1)
    )


def one_array_in_many_places(file):
    file["layers/conv2d/vars/0"] = np.zeros(1 << 18, "f4")
    for number in range(400):
        file[f"layers/conv2d_{number}/vars/0"] = file["layers/conv2d/vars/0"]


def normalization(value):
    def write(file):
        file.create_group("layers/conv2d/vars")
        file.attrs[keras_files.NORMALIZATION_ATTRIBUTE] = value

    return write


def model_config(value):
    def write(file):
        file.attrs["model_config"] = value

    return write


HDF5 = [
    deep_groups,
    a_named_type,
    a_group_for_an_array,
    texts_for_numbers,
    records_for_numbers,
    a_name_in_bytes,
    a_name_in_no_encoding,
    many_names,
    a_terabyte_in_chunks,
    a_large_chunk_of_little,
    a_shape_that_overflows,
    one_array_in_many_places,
    *map(
        normalization,
        (1.0, [], [1.0, 2.0], [[1.0] * 3] * 3, [[0.0] * 3] * 2, "ab"),
    ),
    normalization([[1.0] * 3, [float("nan")] * 3]),
    normalization(np.zeros((2, 3), "S1")),
    *map(model_config, ("null", "[]", '"x"', "3", "{", 3.0, b"\xff")),
    model_config('{"class_name": "Functional", "config": {"layers": [null]}}'),
    model_config("[" * 5000),
]


@pytest.mark.parametrize("make", HDF5)
def test_an_hdf5_file_is_refused_with(make, tmp_path):
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        make(file)
    check_refused(path)


def test_a_text_that_lies_nowhere_ends_another_process(tmp_path, monkeypatch):
    # The library follows a broken reference into its heap of texts. Which bytes
    # make it fail differs between its releases, so that the child fails here.
    program = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(hdf5_files, "_PROGRAM", program)
    path = tmp_path / "x.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3)
    assert "fails on it (signal 11)" in check_refused(path)
    monkeypatch.setattr(hdf5_files, "_PROGRAM", "while True: pass")
    monkeypatch.setattr(hdf5_files, "_SECONDS", 1)
    assert "takes more than 1 s" in check_refused(path)
    program = "import time; time.sleep(60)"
    monkeypatch.setattr(hdf5_files, "_PROGRAM", program)
    monkeypatch.setattr(hdf5_files, "_MAX_SECONDS", 0.5)
    assert "takes more than 0.5 s" in check_refused(path)


def test_a_text_that_claims_a_gigabyte_takes_it_in_another_process(tmp_path):
    path, text = tmp_path / "x.h5", "eleven text"
    with h5py.File(path, "w") as file:
        file.attrs["name"] = text
    content = path.read_bytes()
    heap = content.index(b"GCOL").to_bytes(8, "little")
    stored = len(text).to_bytes(4, "little") + heap
    assert content.count(stored) == 1
    claimed = (1 << 30).to_bytes(4, "little") + heap
    path.write_bytes(content.replace(stored, claimed))
    assert "more memory than its arrays" in check_refused(path)


def test_groups_that_contain_themselves_end(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("a")
        group["b"], group["c"] = group, group
    check_refused(path)


# .keras ----------------------------------------------------------------------


@pytest.fixture(autouse=True)
def read_here(request, monkeypatch):
    """Saves the process in which a file is tried first, where it may."""
    if "another_process" not in request.node.name:
        monkeypatch.setattr(hdf5_files, "_try_apart", lambda *arguments: None)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """{member: content} of a sound .keras file."""
    path = tmp_path_factory.mktemp("sound") / "x.keras"
    hostile_files.build().save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archive(path, members, compression=0):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def find_layer(config, kind):
    return next(
        layer
        for layer in config["config"]["layers"]
        if layer["class_name"] == kind
    )


def change(kind, **fields):
    """Changes the config of the first layer of a class."""

    def apply(config):
        find_layer(config, kind)["config"].update(fields)
        return config

    return apply


def replace(kind, module, name, /, **fields):
    """Makes another class of the first layer of one."""

    def apply(config):
        layer = find_layer(config, kind)
        layer |= {"class_name": name, "module": module}
        layer["registered_name"] = name
        layer["config"] = {"name": layer["config"]["name"], **fields}
        return config

    return apply


def layers_are(value):
    return lambda config: {**config, "config": {"layers": value}}


def config_is(value):
    return lambda config: value


# What no reader takes.
BROKEN = {
    **{f"the config {value!r}": config_is(value) for value in (
        None, [], "x", 3, 1.5, True, {}, {"class_name": "Functional"},
        {"class_name": None, "config": {}}, {"class_name": "x", "config": []},
    )},
    **{f"the layers {value!r}": layers_are(value) for value in (
        None, {}, "x", 3, [None], [3], ["x"], [[]], [{}],
        [{"class_name": "Dense"}], [{"class_name": "Dense", "config": 3}],
    )},
    "a name that is a number": change("Conv2D", name=3),
    "a scale of 10^400": change("Rescaling", scale=10**400),
}  # fmt: skip

# What is not loaded, though its weights may be read.
FOREIGN = {
    "a Lambda": replace(
        "Activation",
        "keras.layers",
        "Lambda",
        function={
            "class_name": "function",
            "module": "keras.ops",
            "config": "relu",
            "registered_name": "relu",
        },
    ),
    "a Lambda with code": replace(
        "Activation",
        "keras.layers",
        "Lambda",
        function={"class_name": "__lambda__", "config": {"code": "4wE="}},
    ),
    "a TFSMLayer": replace(
        "Activation", "keras.layers", "TFSMLayer", filepath="/somewhere"
    ),
    "a StringLookup": replace(
        "Activation", "keras.layers", "StringLookup", vocabulary="/etc/passwd"
    ),
    "a TorchModuleWrapper": replace(
        "Activation", "keras.layers", "TorchModuleWrapper", module="gAQu"
    ),
    "a class of another module": replace("Dense", "os", "Dense", units=3),
    "a class of the user's": replace("Dense", None, "mine>Dense", units=3),
    "an activation by name of a function": change(
        "Dense",
        activation={
            "class_name": "function",
            "module": "keras.utils",
            "config": "get_file",
            "registered_name": "get_file",
        },
    ),
    "a class named by a list": change(
        "Dense", bias_initializer={"class_name": ["Zeros"], "config": {}}
    ),
    "10^9 units": change("Dense", units=10**9),
    "a million filters": change("Conv2D", filters=10**6, kernel_size=[99, 99]),
    "-1 filters": change("Conv2D", filters=-1),
    "a text as filters": change("Conv2D", filters="x"),
    "an endless image": change("InputLayer", batch_shape=[None, 1 << 40, 1, 3]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_keras_file_is_refused_with(name, members, tmp_path):
    config = BROKEN[name](json.loads(members["config.json"]))
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "config.json": json.dumps(config)})
    check_refused(path, read_as_weights)
    check_refused(path, former_names.load_network)


def read_as_weights(path):
    from efficientnet_tf.weights import name_maps

    return name_maps.read(path, hostile_files.make_row())


@pytest.mark.parametrize("name", FOREIGN)
def test_a_keras_file_is_not_loaded_with(name, members, tmp_path):
    config = FOREIGN[name](json.loads(members["config.json"]))
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "config.json": json.dumps(config)})
    check_refused(path, former_names.load_network)


@pytest.mark.parametrize("scale", ["missing", {}, {"config": 3}, [1, 2]])
def test_pixels_that_are_scaled_by_nonsense_are_no_trace(
    scale, members, tmp_path
):
    config = json.loads(members["config.json"])
    fields = find_layer(config, "Rescaling")["config"]
    fields["scale"] = scale
    if scale == "missing":
        del fields["scale"]
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "config.json": json.dumps(config)})
    note = read_as_weights(path).normalization_note
    assert note.startswith("assumed")  # And a line names the layer.


@pytest.mark.parametrize("scale", [0, [1, 0, 1]])
def test_pixels_that_are_made_nothing_of_are_refused(scale, members, tmp_path):
    config = change("Rescaling", scale=scale)(
        json.loads(members["config.json"])
    )
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "config.json": json.dumps(config)})
    check_refused(path, read_as_weights)


def test_layers_in_a_circle_end(members, tmp_path):
    config = json.loads(members["config.json"])
    scaling = find_layer(config, "Rescaling")
    scaling["inbound_nodes"] = [[[scaling["config"]["name"], 0, 0, {}]]]
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "config.json": json.dumps(config)})
    assert read_as_weights(path).arrays


def test_a_member_that_lies_outside_is_refused(members, tmp_path):
    path = tmp_path / "x.keras"
    write_archive(path, {**members, "../evil": b"x"})
    assert "evil" in check_refused(path, former_names.load_network)


@pytest.mark.parametrize("compression", [0, 8, 12, 14])
def test_damaged_members_are_one_line(compression, members, tmp_path):
    path = tmp_path / "x.keras"
    write_archive(path, members, compression)
    data = bytearray(path.read_bytes())
    # In the middle of the config, which is first or second.
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("config.json")
    begin = info.header_offset + 30 + len(info.filename)
    for place in range(begin + 20, begin + 60):
        data[place] ^= 0xFF
    path.write_bytes(data)
    check_refused(path)


def test_an_empty_archive_is_one_line(tmp_path):
    path = tmp_path / "x.keras"
    write_archive(path, {})
    check_refused(path)
    check_refused(path, former_names.load_network)


def test_a_member_that_claims_gigabytes_is_not_unpacked(members, tmp_path):
    path = tmp_path / "x.keras"
    zeros = bytes(300 << 20)
    write_archive(path, {**members, keras_files.WEIGHTS_FILE: zeros}, 8)
    del zeros
    assert "claims to hold" in check_refused(path)
    check_refused(path, former_names.load_network)


def test_an_archive_with_a_long_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "efficientnet_tf.utils.zip_files._MAX_DIRECTORY_BYTES", 1000
    )
    path = tmp_path / "x.keras"
    write_archive(path, {str(number): b"" for number in range(100)})
    assert "too many members" in check_refused(path)


def test_a_file_far_larger_than_its_network_is_not_read(tmp_path):
    path = tmp_path / "x.h5"
    with open(path, "wb") as file:
        file.write(readers.HDF5_MAGIC)
        file.truncate(1 << 30)  # A hole: no disk is used.
    assert "far more than" in check_refused(path, read_as_weights)


# .safetensors ----------------------------------------------------------------

ENTRY = '"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}'
HEADERS = {
    "nested deeply": '{"__metadata__":' + "[" * 100 + "]" * 100 + "}",
    "a tensor twice": "{" + ENTRY + "," + ENTRY + "}",
    "a list": "[]",
    "null": "null",
    "metadata of numbers": '{"__metadata__":{"a":3},' + ENTRY + "}",
    "a side of 10^30": ENTRY.replace("6", "1" + "0" * 30).join("{}"),
    "a product that overflows": ENTRY.replace("[6]", f"[{2**62},4]").join("{}"),
    "an entry that is null": '{"a":null}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_safetensors_header_is_refused_with(name, tmp_path):
    path = tmp_path / "x.safetensors"
    header = HEADERS[name].encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))
    check_refused(path, readers.torch_files.read_safetensors)
