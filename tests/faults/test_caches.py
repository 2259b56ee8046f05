"""Caches that are damaged, hostile, or cannot be written."""

import os
import resource
import struct
import sys
import time
import zipfile

import numpy as np
import pytest

from efficientnet_tf.utils import cache_folder, files

ARRAYS = {
    "features": np.arange(12, dtype="float32").reshape(3, 4),
    "labels": np.arange(3),
}
COLUMNS = {
    "features": cache_folder.Column("float32", ("n", 4)),
    "labels": cache_folder.Column("int64", ("n",)),
}


def _save(path, **changes):
    np.savez(path, **{**ARRAYS, **changes})


def _make_header(shape, dtype="<f4"):
    """The header of an .npy file, with any claim."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    text = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _claim(path, shape):
    """Another shape in the header, with the right check sum."""
    with zipfile.ZipFile(path, "w") as archive:
        values = ARRAYS["features"].tobytes()
        archive.writestr("features.npy", _make_header(shape) + values)
        labels = ARRAYS["labels"].tobytes()
        archive.writestr("labels.npy", _make_header((3,), "<i8") + labels)


def _compress(path, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", _make_header((size,)) + bytes(size))


def _link_to_itself(path):
    path.symlink_to(path)


# What is wrong -> a function that makes the file.
HOSTILE = {
    "it is no regular file": os.mkfifo,
    "it is no regular file, but a folder": os.mkdir,
    "it is no regular file, but a loop": _link_to_itself,
    "File is not a zip file": lambda path: path.write_bytes(b"x" * 500),
    "File is not a zip file, but empty": lambda path: path.write_bytes(b""),
    "it is compressed": lambda path: _compress(path, 2**26),
    "no item named 'labels.npy'": lambda path: np.savez(
        path, features=ARRAYS["features"]
    ),
    "features is float32 (4, 3)": lambda path: _claim(path, (4, 3)),
    "cannot reshape array": lambda path: _claim(path, (10**9, 4)),
    "features is float32 (3, 5)": lambda path: _save(
        path, features=np.zeros((3, 5), "float32")
    ),
    "labels is int64 (2,)": lambda path: _save(path, labels=np.arange(2)),
    "labels is float64 (3,)": lambda path: _save(path, labels=np.zeros(3)),
    "features is object": lambda path: _save(
        path, features=np.array([[os.getcwd] * 4] * 3, object)
    ),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_what_is_no_cache_is_set_aside_with_a_line(message, tmp_path, caplog):
    path = tmp_path / "x.npz"
    HOSTILE[message](path)
    begin = time.monotonic()
    assert cache_folder.load_arrays(path, COLUMNS) == {}
    assert time.monotonic() - begin < 5
    (record,) = caplog.records
    assert "x.npz, computing it again: " in record.message
    assert message.partition(", but")[0] in record.message
    assert "\n" not in record.message
    # It is made anew, and read from then on.
    cache_folder.save_arrays(path, ARRAYS, 2**20)
    found = cache_folder.load_arrays(path, COLUMNS)
    np.testing.assert_array_equal(found["features"], ARRAYS["features"])
    assert len(caplog.records) == 1


@pytest.fixture
def small_files():
    """Writing more than 100 bytes fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_full_disk_costs_only_the_cache(small_files, tmp_path, caplog):
    path = tmp_path / "cache" / "x.npz"
    cache_folder.save_arrays(path, ARRAYS, 2**20)
    assert list(path.parent.iterdir()) == []
    (record,) = caplog.records
    assert record.message.startswith(f"Cannot cache {path}: ")


def test_a_cache_that_is_a_file_costs_only_itself(tmp_path, caplog):
    (tmp_path / "cache").write_text("")
    path = tmp_path / "cache" / "x.npz"
    assert cache_folder.load_arrays(path, COLUMNS) == {}
    cache_folder.save_arrays(path, ARRAYS, 2**20)
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 2


def test_what_killed_processes_left_in_a_cache_is_removed(tmp_path):
    old, new = (tmp_path / f"{files.PREFIX}{n}-x.npz" for n in (1, 2))
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    cache_folder.save_arrays(tmp_path / "y.npz", ARRAYS, 2**20)
    assert not old.exists() and new.exists()
