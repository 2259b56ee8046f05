import json
import struct

import h5py
import numpy as np
import pytest

import samples
from efficientnet_tf.weights import readers, tensorflow_files

KERNEL = np.arange(4, dtype=np.float32)


def test_a_checkpoint_gives_averages_where_it_has_them(tmp_path):
    ema = "net/stem/conv2d/kernel" + tensorflow_files.EMA_SUFFIX
    prefix = samples.write_checkpoint(
        tmp_path / "model.ckpt",
        {
            "net/stem/conv2d/kernel": KERNEL,
            ema: 2 * KERNEL,
            "net/head/dense/bias": KERNEL,
            "global_step": np.int64(7),
        },
    )
    for path in (prefix, f"{prefix}.index", str(tmp_path)):
        tensors = readers.read(path)
        assert tensors.layout == "tensorflow"
        assert set(tensors.arrays) == {
            "net/stem/conv2d/kernel",
            "net/head/dense/bias",
            "global_step",
        }
        np.testing.assert_array_equal(
            tensors.arrays["net/stem/conv2d/kernel"], 2 * KERNEL
        )


def test_a_directory_gives_its_last_checkpoint(tmp_path):
    # By number, not by spelling: 9 sorts after 10.
    for step in (9, 10):
        samples.write_checkpoint(
            tmp_path / f"model.ckpt-{step}", {"step": np.int64(step)}
        )
    assert readers.read(tmp_path).arrays["step"] == 10


def test_a_directory_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="directory without a checkpoint"):
        readers.read(tmp_path)


def test_a_checkpoint_without_its_data_is_one_line(tmp_path):
    samples.write_checkpoint(tmp_path / "model.ckpt", {"a": KERNEL})
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="model.ckpt is damaged") as caught:
        readers.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file at"):
        readers.read(tmp_path / "nothing.pth")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b" * 9])
def test_a_file_of_another_kind_lists_the_known_kinds(tmp_path, content):
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="x.h5 is not a weight file of a known format"
    ):
        readers.read(path)


@pytest.mark.parametrize(
    "head", [readers.HDF5_MAGIC, readers.ZIP_MAGIC, b"\x80\x02"]
)
def test_a_file_that_is_all_head_is_one_line_with_its_name(tmp_path, head):
    path = tmp_path / "x.weights.h5"
    path.write_bytes(head + bytes(100))
    with pytest.raises(ValueError, match="x.weights.h5 is") as caught:
        readers.read(path)
    assert "\n" not in str(caught.value)


def test_an_h5_file_cut_off_is_one_line_with_its_name(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["stem_conv/stem_conv/kernel:0"] = np.zeros(10_000)
    path.write_bytes(path.read_bytes()[:-5_000])
    with pytest.raises(ValueError, match="x.h5 is damaged"):
        readers.read(path)


def test_the_legacy_layout_keeps_layers_and_loses_suffixes(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.create_group("rescaling")
        group["stem_conv/stem_conv/kernel:0"] = KERNEL
        # A model used as a layer of another one.
        group["net/stem_bn/gamma:0"] = KERNEL
        file["optimizer_weights/stem_conv/kernel:0"] = 2 * KERNEL
    tensors = readers.read(path)
    assert set(tensors.arrays) == {"stem_conv/kernel", "net/stem_bn/gamma"}
    assert "rescaling" in tensors.layers
    np.testing.assert_array_equal(tensors.arrays["stem_conv/kernel"], KERNEL)


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_an_h5_file_cannot_bring_in_another_file(tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_bytes(KERNEL.tobytes())
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("stem_conv")
        if kind == "external":
            group.create_dataset(
                "kernel", (4,), "f4", external=[(str(secret), 0, 16)]
            )
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(secret, "a", (4,))
            group.create_virtual_dataset("kernel", layout)
    with pytest.raises(ValueError, match="kernel points outside the file"):
        readers.read(path)


def test_links_out_of_an_h5_file_are_not_followed(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["kernel"] = KERNEL
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["stem_conv/bias"] = KERNEL
        file["stem_conv/kernel"] = h5py.ExternalLink(other, "kernel")
    assert set(readers.read(path).arrays) == {"stem_conv/bias"}
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = KERNEL
        file["layers/conv2d_1"] = h5py.ExternalLink(other, "/")
    assert set(readers.read(path).arrays) == {"conv2d/kernel"}


def test_a_header_of_any_length_is_one_of_safetensors(tmp_path):
    """Its first byte may be that which every pickle begins with."""
    header = json.dumps(
        {"k": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    ).encode()
    header = header.ljust(0x180)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 0x180) + header + KERNEL.tobytes())
    assert path.read_bytes()[:1] == readers.PICKLE_PROTOCOL_OPCODE
    np.testing.assert_array_equal(readers.read(path).arrays["k"], KERNEL)
