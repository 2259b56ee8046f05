import logging

import numpy as np

from efficientnet_tf.utils import cache_folder

ARRAYS = {"version": np.array(1), "values": np.arange(12.0).reshape(3, 4)}
COLUMNS = {
    "version": cache_folder.Column("int64", ()),
    "values": cache_folder.Column("float64", ("n", 4)),
}


def _is_whole(found):
    return found.keys() == ARRAYS.keys() and all(
        np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS
    )


def test_arrays_of_a_damaged_file_are_right_or_not_read(tmp_path, caplog):
    path = tmp_path / "x.npz"
    assert cache_folder.load_arrays(path, COLUMNS) == {}
    assert not caplog.records
    cache_folder.save_arrays(path, ARRAYS, 2**20)
    assert _is_whole(cache_folder.load_arrays(path, COLUMNS))
    data = path.read_bytes()
    lost = 0
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        found = cache_folder.load_arrays(path, COLUMNS)
        assert not found or _is_whole(found), place
        lost += not found
        assert path.exists() == bool(found)
    assert 300 < lost < len(data)  # Some bytes, as of times, do not matter.
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        assert cache_folder.load_arrays(path, COLUMNS) == {}
    assert "x.npz, computing it again: " in caplog.text
    assert all(r.levelno == logging.WARNING for r in caplog.records)
    # One is kept to look at.
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz.damaged"]
