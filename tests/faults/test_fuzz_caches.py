"""Random damage to what runs leave: right, or named, and never a trace."""

import os
import random
import resource
import time

import numpy as np
import pytest

from efficientnet_tf.utils import cache_folder, files, run_folder, tables

pytestmark = pytest.mark.nightly

SECONDS = float(os.environ.get("FUZZ_SECONDS", 1800))
ARRAYS = {
    "features": np.arange(40, dtype="float32").reshape(10, 4),
    "labels": np.arange(10),
}
COLUMNS = {
    "features": cache_folder.Column("float32", ("n", 4)),
    "labels": cache_folder.Column("int64", ("n",)),
}
CONFIG = {"model": "b0", "config": {"epochs": 1, "sizes": [2, 3]}}


def _damage(data, noise):
    """Flips, cuts, repeats or puts in a few bytes."""
    data = bytearray(data)
    for _ in range(noise.choice((1, 1, 2, 5, 20))):
        begin = noise.randrange(len(data) + 1)
        end = min(len(data), begin + noise.choice((1, 1, 4, 50)))
        piece = data[begin:end]
        data[begin:end] = noise.choice(
            (
                b"",
                piece + piece,
                bytes(letter ^ 1 << noise.randrange(8) for letter in piece),
                noise.randbytes(len(piece)),
                noise.choice((b"\n", b"{", b"[", b'"', b"null", b"1e999")),
            )
        )
    return bytes(data)


def _read_arrays(path):
    found = cache_folder.load_arrays(path, COLUMNS)
    for name, values in found.items():
        np.testing.assert_array_equal(values, ARRAYS[name])
    for left in path.parent.glob(f"*{cache_folder.DAMAGED}"):
        left.unlink()


def _read_metrics(path):
    for row in run_folder.read_metrics(path):
        assert files.is_a(row["epoch"], float)
    run_folder.last_result(path.parent)
    files.append_json_line(path, {"epoch": 1})


def _read_config(path):
    run_folder.read_group_by(path.parent, "digits")
    run_folder.start_run(path.parent, CONFIG)


# The name of the file, what it is, its reader, and what that may raise.
READERS = {
    "x.npz": (None, _read_arrays, ()),
    run_folder.METRICS_FILE: (
        b'{"epoch": 1, "seconds": 2.0, "loss": 0.5}\n' * 5,
        _read_metrics,
        (),
    ),
    run_folder.RESULTS_FILE: (
        b'{"score": 0.5, "curves": {"epoch": [1, 2]}, "seed": 0}\n' * 3,
        _read_metrics,
        (),
    ),
    run_folder.CONFIG_FILE: (
        b'{"model": "b0", "config": {"epochs": 1, "sizes": [2, 3]}}\n',
        _read_config,
        (OSError, ValueError),
    ),
    "images.csv": (b'a,b\n\'=x,"y\n"\n1,2\n', tables.read_csv, (ValueError,)),
}


@pytest.mark.parametrize("name", READERS)
def test_damage_is_named_or_does_not_matter(name, tmp_path):
    whole, read, expected = READERS[name]
    path = tmp_path / name
    if whole is None:
        cache_folder.save_arrays(path, ARRAYS, 2**20)
        whole = path.read_bytes()
    seed = random.SystemRandom().randrange(2**32)  # All else is seeded.
    print("seed", seed)
    noise, cases, slowest = random.Random(seed), 0, 0.0
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - begin < SECONDS / len(READERS):
        path.write_bytes(_damage(whole, noise))
        started = time.monotonic()
        try:
            read(path)
        except expected as error:
            assert str(error)
        slowest = max(slowest, time.monotonic() - started)
        cases += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: {cases} cases, slowest {slowest:.2f} s, {grown} kB more")
    assert slowest < 10 and grown < 1e6
