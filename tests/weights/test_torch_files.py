import pickle
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from efficientnet_tf.weights import pickles, torch_files

# Files are written opcode by opcode, as `torch.save` would: so the tests need
# no PyTorch, and can write what it never would.
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value):
    return b"J" + struct.pack("<i", value)


def integers(values):
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def storage(key, numel, kind="FloatStorage", view=b"N"):
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + integer(numel)
        + view
        + b"tQ"
    )


def tensor(stored, shape, strides, offset=0):
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + stored
        + integer(offset)
        + integers(shape)
        + integers(strides)
        + b"\x89"
        + ORDERED_DICT
        + b"tR"
    )


def mapping(entries):
    items = b"".join(text(name) + value for name, value in entries.items())
    return ORDERED_DICT + b"(" + items + b"u"


def program(body):
    return b"\x80\x02" + body + b"."


def write_zip(path, body, storages, order=b"little", compression=0):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program(body))
        archive.writestr("archive/byteorder", order)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_legacy(path, body, storages, order="<", itemsize=4):
    info = {"protocol_version": 1001, "little_endian": order == "<"}
    with open(path, "wb") as file:
        pickle.dump(torch_files.LEGACY_MAGIC, file, 2)
        pickle.dump(torch_files.LEGACY_PROTOCOL, file, 2)
        pickle.dump(info, file, 2)
        file.write(program(body))
        pickle.dump(list(storages), file, 2)
        for data in storages.values():
            file.write(struct.pack(f"{order}q", len(data) // itemsize) + data)
    return path


WRITERS = {"zip": write_zip, "legacy": write_legacy}
SIX = np.arange(6, dtype=np.float32)


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    writer = WRITERS[request.param]
    return lambda *args, **kw: str(writer(tmp_path / "x.pth", *args, **kw))


def test_a_state_dict_comes_out_as_it_went_in(write):
    path = write(
        mapping({"a": tensor(storage("0", 6), (2, 3), (3, 1))}),
        {"0": SIX.tobytes()},
    )
    arrays = torch_files.read_pickled(path).arrays
    assert list(arrays) == ["a"]
    np.testing.assert_array_equal(arrays["a"], SIX.reshape(2, 3))


def test_a_transposed_view_with_an_offset_is_followed(write):
    path = write(
        mapping({"a": tensor(storage("0", 6), (2, 2), (1, 2), offset=1)}),
        {"0": SIX.tobytes()},
    )
    array = torch_files.read_pickled(path).arrays["a"]
    np.testing.assert_array_equal(array, [[1, 3], [2, 4]])


def test_a_legacy_view_of_a_storage_starts_at_its_offset(tmp_path):
    view = b"(" + text("1") + integer(2) + integer(4) + b"t"
    body = mapping({"a": tensor(storage("0", 6, view=view), (4,), (1,))})
    path = write_legacy(tmp_path / "x.pth", body, {"0": SIX.tobytes()})
    array = torch_files.read_pickled(path).arrays["a"]
    np.testing.assert_array_equal(array, [2, 3, 4, 5])


# 1.5, -2 and 0.15625 are exact in all of them.
EXACT = np.array([1.5, -2.0, 0.15625], np.float32)


@pytest.mark.parametrize(
    "kind,data",
    [
        ("DoubleStorage", EXACT.astype("<f8").tobytes()),
        ("FloatStorage", EXACT.astype("<f4").tobytes()),
        ("HalfStorage", EXACT.astype("<f2").tobytes()),
        ("BFloat16Storage", (EXACT.view("<u4") >> 16).astype("<u2").tobytes()),
    ],
)
def test_every_float_type_keeps_its_values(tmp_path, kind, data):
    body = mapping({"a": tensor(storage("0", 3, kind), (3,), (1,))})
    path = write_zip(tmp_path / "x.pth", body, {"0": data})
    array = torch_files.read_pickled(path).arrays["a"]
    np.testing.assert_array_equal(array.astype(np.float32), EXACT)


def test_files_of_big_endian_machines_keep_their_values(tmp_path):
    body = mapping({"a": tensor(storage("0", 6), (6,), (1,))})
    data = {"0": SIX.astype(">f4").tobytes()}
    for path in (
        write_zip(tmp_path / "z", body, data, order=b"big"),
        write_legacy(tmp_path / "l", body, data, order=">"),
    ):
        array = torch_files.read_pickled(path).arrays["a"]
        np.testing.assert_array_equal(array, SIX)


@pytest.mark.parametrize("wrapper", torch_files.WRAPPERS)
def test_a_wrapped_state_dict_is_unwrapped(write, wrapper):
    inner = mapping({"module.a": tensor(storage("0", 6), (6,), (1,))})
    path = write(
        mapping({"epoch": integer(3), wrapper: inner}), {"0": SIX.tobytes()}
    )
    assert list(torch_files.read_pickled(path).arrays) == ["a"]


def test_averaged_weights_come_before_raw_ones(write):
    raw = mapping({"a": tensor(storage("0", 6), (6,), (1,))})
    averaged = mapping({"a": tensor(storage("1", 6), (6,), (1,))})
    path = write(
        mapping({"state_dict": raw, "state_dict_ema": averaged}),
        {"0": SIX.tobytes(), "1": (2 * SIX).tobytes()},
    )
    np.testing.assert_array_equal(
        torch_files.read_pickled(path).arrays["a"], 2 * SIX
    )


# Each would leave the file {victim} behind, or would give the means to.
SHELL = "echo > {victim}"
ATTACKS = {
    "posix.system": b"cposix\nsystem\n(%shell%tR",
    "os.system": b"cos\nsystem\n(%shell%tR",
    "subprocess.getoutput": b"csubprocess\ngetoutput\n(%shell%tR",
    "builtins.eval": b"cbuiltins\neval\n(%python%tR",
    "__builtin__.eval": b"c__builtin__\neval\n(%python%tR",
    "builtins.exec": b"\x8c\x08builtins\x8c\x04exec\x93(%python%tR",
    "builtins.getattr": b"cbuiltins\ngetattr\n(%shell%tR",
    "builtins.open": b"cbuiltins\nopen\n(%victim%X\x01\x00\x00\x00wtR",
    "pathlib.Path": b"(%victim%ipathlib\nPath\n",
    "io.FileIO": b"(cio\nFileIO\n%victim%X\x01\x00\x00\x00wo",
    "shutil.copy": b"cshutil\ncopy\n(%victim%tR",
    "pickle.loads": b"cpickle\nloads\n(%shell%tR",
    "runpy.run_path": b"crunpy\nrun_path\n(%victim%tR",
    "functools.partial": b"cfunctools\npartial\n(%shell%t\x81",
    "torch.hub.load": b"ctorch.hub\nload\n(%shell%tR",
    "torch.storage._load_from_bytes": (
        b"ctorch.storage\n_load_from_bytes\n(%shell%tR"
    ),
    "numpy.core.multiarray._reconstruct": (
        b"cnumpy.core.multiarray\n_reconstruct\n(%shell%tR"
    ),
    "collections.OrderedDict.__class__": (
        b"\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93(%shell%tR"
    ),
    "efficientnet_tf.weights.torch_files.np": (
        b"cefficientnet_tf.weights.torch_files\nnp\n(%shell%tR"
    ),
}


def attack(recipe, victim):
    python = f"__import__('pathlib').Path({str(victim)!r}).touch()"
    for mark, value in (
        (b"%shell%", SHELL.format(victim=victim)),
        (b"%python%", python),
        (b"%victim%", str(victim)),
    ):
        recipe = recipe.replace(mark, text(value))
    return recipe


@pytest.mark.parametrize("name", ATTACKS)
def test_a_malicious_pickle_is_refused_by_name_and_not_run(
    write, tmp_path, name
):
    victim = tmp_path / "victim"
    good = tensor(storage("0", 6), (6,), (1,))
    body = mapping({"a": good, "b": attack(ATTACKS[name], victim)})
    path = write(body, {"0": SIX.tobytes()})
    with pytest.raises(pickles.RefusedError) as caught:
        torch_files.read_pickled(path)
    assert str(caught.value) == f"{path} asks to run {name}; refused."
    assert not victim.exists()


def test_the_attacks_do_attack(tmp_path):
    # Without this, a typing error in an attack would pass as a defence.
    victim = tmp_path / "victim"
    for name in ("posix.system", "builtins.eval", "builtins.open"):
        body = mapping({"b": attack(ATTACKS[name], victim)})
        result = pickle.loads(program(body))["b"]
        if hasattr(result, "close"):
            result.close()
        assert victim.exists(), name
        victim.unlink()


@pytest.mark.parametrize("place", range(5))
def test_each_of_a_legacy_files_pickles_is_guarded(tmp_path, place):
    victim = tmp_path / "victim"
    body = mapping({"a": tensor(storage("0", 6), (6,), (1,))})
    parts = [
        pickle.dumps(torch_files.LEGACY_MAGIC, 2),
        pickle.dumps(torch_files.LEGACY_PROTOCOL, 2),
        pickle.dumps({"little_endian": True}, 2),
        program(body),
        pickle.dumps(["0"], 2),
    ]
    parts[place] = program(attack(ATTACKS["posix.system"], victim))
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(parts) + struct.pack("<q", 6) + SIX.tobytes())
    with pytest.raises(pickles.RefusedError, match="posix.system; refused"):
        torch_files.read_pickled(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "body,message",
    [
        # BUILD, which sets attributes, on a function that we stand in for.
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n}(" + text("a") + b"Nub",
            "asks to change torch._utils._rebuild_tensor_v2; refused",
        ),
        (b"ctorch\nFloatStorage\n)R", "asks to call FloatStorage; refused"),
        (b"ccollections\nOrderedDict\n}(" + text("a") + b"Nub", "not a"),
        # An extension code, and a name out of memory's reach.
        (b"\x82\x01", "not a readable PyTorch state dict"),
        (b"r\xff\xff\xff\x7f", "not a readable PyTorch state dict"),
    ],
)
def test_what_is_admitted_cannot_be_bent(write, body, message):
    path = write(mapping({"a": body}), {})
    with pytest.raises(ValueError, match=message):
        torch_files.read_pickled(path)
    assert isinstance(pickles._rebuild_tensor, type(attack))


@pytest.mark.parametrize(
    "shape,strides,offset",
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 3), (4, 1), 0),
        ((2,), (-1,), 5),
        ((2,), (1,), -1),
        ((-2,), (1,), 0),
        ((1000, 1000), (0, 0), 0),
        ((2, 3), (1,), 0),
        ((2**31 - 1, 2**31 - 1), (1, 1), 0),
    ],
)
def test_a_tensor_cannot_reach_outside_its_storage(
    write, shape, strides, offset
):
    path = write(
        mapping({"a": tensor(storage("0", 6), shape, strides, offset)}),
        {"0": SIX.tobytes()},
    )
    with pytest.raises(
        ValueError, match="outside its storage|more than the file|not a count"
    ):
        torch_files.read_pickled(path)


def test_many_views_of_one_storage_cannot_fill_the_memory(write):
    data = np.zeros(10_000, np.float32).tobytes()
    one = tensor(storage("0", 10_000), (10_000,), (1,))
    path = write(mapping({str(i): one for i in range(50)}), {"0": data})
    with pytest.raises(ValueError, match="more than the file holds"):
        torch_files.read_pickled(path)


def test_a_compressed_member_is_refused(tmp_path):
    body = mapping({"a": tensor(storage("0", 6), (6,), (1,))})
    path = write_zip(
        tmp_path / "x.pth",
        body,
        {"0": SIX.tobytes()},
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(ValueError, match="is compressed"):
        torch_files.read_pickled(path)


def test_a_file_cut_off_anywhere_gives_one_line_with_its_name(write, tmp_path):
    path = write(
        mapping({"a": tensor(storage("0", 6), (6,), (1,))}),
        {"0": SIX.tobytes()},
    )
    with open(path, "rb") as file:
        whole = file.read()
    short = tmp_path / "short.pth"
    for length in range(len(whole)):
        short.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="short.pth is not a readable"):
            torch_files.read_pickled(short)


@pytest.mark.parametrize("body", [b"N", b"K\x01", b"}", b"]", ORDERED_DICT])
def test_a_pickle_without_tensors_is_an_error(write, body):
    with pytest.raises(ValueError, match="it holds"):
        torch_files.read_pickled(write(body, {}))


def test_what_torch_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    state = torch.nn.Conv2d(3, 4, 3).state_dict()
    for zipped in (False, True):
        path = tmp_path / f"{zipped}.pth"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        arrays = torch_files.read_pickled(path).arrays
        for name, value in state.items():
            np.testing.assert_array_equal(arrays[name], value.numpy())


def test_a_training_checkpoint_names_its_network_and_keeps_its_settings(write):
    # timm's: {"arch": ..., "args": a Namespace, "state_dict": ...}.
    settings = (
        b"cargparse\nNamespace\n)\x81}(" + text("lr") + integer(3) + b"ub"
    )
    path = write(
        mapping(
            {
                "arch": text("efficientnet_b0"),
                "args": settings,
                "state_dict": mapping(
                    {"a": tensor(storage("0", 6), (6,), (1,))}
                ),
            }
        ),
        {"0": SIX.tobytes()},
    )
    found = torch_files.read_pickled(path)
    assert found.architecture == "efficientnet_b0"
    np.testing.assert_array_equal(found.arrays["a"], SIX)


# .safetensors ----------------------------------------------------------------


def safetensors_bytes(header):
    encoded = header.encode()
    return struct.pack("<Q", len(encoded)) + encoded + SIX.tobytes()


def test_what_safetensors_writes_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {
        "a": SIX.reshape(2, 3),
        "b": SIX.astype(np.float16),
        "c": np.array(3, np.int64),
    }
    metadata = {"format": "pt", "architecture": "tf_efficientnet_b0"}
    safetensors.numpy.save_file(arrays, path, metadata=metadata)
    found = torch_files.read_safetensors(path)
    assert found.architecture == "tf_efficientnet_b0"
    found = found.arrays
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    "entry,message",
    [
        (
            '"dtype":"F32","shape":[6],"data_offsets":[0,28]',
            "shape.* or offset",
        ),
        ('"dtype":"F32","shape":[6],"data_offsets":[-4,20]', "`-4`"),
        (
            '"dtype":"F32","shape":[7],"data_offsets":[0,24]',
            "shape.* or offset",
        ),
        ('"dtype":"F32","shape":[-1,-6],"data_offsets":[0,24]', "`-1`"),
        ('"dtype":"F99","shape":[6],"data_offsets":[0,24]', "F99"),
        ('"dtype":"F32"', "missing field `shape`"),
        (
            '"dtype":"U16","shape":[12],"data_offsets":[0,24]',
            "a has the unsupported type U16",
        ),
    ],
)
def test_a_wrong_safetensors_entry_is_named(tmp_path, entry, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes('{"a":{' + entry + "}}"))
    with pytest.raises(ValueError, match=message) as caught:
        torch_files.read_safetensors(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a readable safetensors file: ")
    assert "\n" not in text


def test_bfloat16_in_a_safetensors_file_keeps_its_values(tmp_path):
    halves = (EXACT.view("<u4") >> 16).astype("<u2").tobytes()
    header = b'{"a":{"dtype":"BF16","shape":[3,1],"data_offsets":[0,6]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + halves)
    array = torch_files.read_safetensors(path).arrays["a"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, EXACT[:, None])


@pytest.mark.parametrize("length", [0, 4, 8, 20])
def test_a_safetensors_file_cut_off_is_an_error(tmp_path, length):
    entry = '{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(entry)[:length])
    with pytest.raises(ValueError, match="x.safetensors is not a readable"):
        torch_files.read_safetensors(path)


def test_a_safetensors_header_longer_than_the_file_is_an_error(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(
        ValueError, match="x.safetensors is not .*header too large"
    ):
        torch_files.read_safetensors(path)
