"""A dispatcher and two workers, each a process, on this machine."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import image_files
import paths
from efficientnet_tf.data import datasets, resumable
from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import sources

SCRIPT = paths.SCRIPTS / "data_service.py"


@pytest.fixture(scope="module")
def address():
    """The address of a dispatcher with two workers."""
    processes = []

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        return json.loads(process.stdout.readline())

    address = start("--role=dispatcher")["address"]
    for _ in range(2):
        host = address.removeprefix("grpc://")
        start("--role=worker", f"--dispatcher={host}")
    yield address
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=30) for process in processes]
    for process in processes:
        process.stdout.close()
    assert codes == [0] * len(codes)


def _numbers(size):
    images = np.zeros((size, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(size)
    return sources.from_arrays(images, np.arange(size) % 3, "abc")


def _read(size, batches, **options):
    """The numbers, and the seeds, of the first batches."""
    ds = datasets.make_epochs_dataset(
        _numbers(size),
        lambda image, seed: tf.concat(
            [tf.cast(image[0, 0, :1], "int64"), seed], axis=0
        ),
        batch_size=10,
        seed=3,
        **options,
    )
    rows = []
    for images, labels in ds.take(batches):
        np.testing.assert_array_equal(images[:, 0] % 3, labels)
        rows += images.numpy().tolist()
    return rows


def test_two_workers_see_the_same_images(address):
    assert address.startswith("grpc://")
    # A worker has an epoch to itself, so two are in work at a time; what is
    # seen, and with which seed, is as without a service.
    found = _read(40, 24, data_service=address)
    epochs = {}
    for number, _, position in found:
        epochs.setdefault(position // 40, []).append(number)
    expected = {}
    for number, _, position in _read(40, 4 * (max(epochs) + 1)):
        expected.setdefault(position // 40, []).append(number)
    whole = [epoch for epoch, seen in epochs.items() if len(seen) == 40]
    assert len(whole) >= 2
    for epoch, seen in epochs.items():
        assert len(set(seen)) == len(seen)
        assert seen == expected[epoch][: len(seen)]


@pytest.mark.parametrize("place", [0, -1])
def test_a_file_that_workers_cannot_decode_is_refused_by_name(
    address, tmp_path, make_folder, place
):
    folder = make_folder(tmp_path, {"a": 15, "b": 15}, size=16)
    names = sources.load(f"folder:{folder}", "train").source.names
    path = pathlib.Path(names[place])
    image_files.make_picture().save(path, "TIFF")
    examples = sources.load(f"folder:{folder}", "train")
    corrupt = resumable.Corrupt(examples.size, 0.5)  # Not one of these.
    with (
        pytest.raises(RuntimeError, match=f"{path.name} is a TIFF, .* convert"),
        corrupt.raised(),
    ):
        list(
            datasets.make_epochs_dataset(
                examples,
                lambda image, seed: decoding.decode(image)[:1, :1],
                batch_size=5,
                seed=0,
                corrupt=corrupt,
                data_service=address,
            ).take(9)
        )


def test_the_address_of_a_service_is_checked():
    with pytest.raises(ValueError, match="'host:1' must begin with grpc://"):
        _read(10, 1, data_service="host:1")
