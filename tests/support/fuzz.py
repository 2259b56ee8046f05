"""Damages valid files at random and reads them; a program of its own.

    python tests/support/fuzz.py KIND SECONDS SEED

A reader may end in an error that names the file in one line; anything else, ten
seconds of processor time, a minute, or a gigabyte is a failure. It is a program
so that a case which ends the process is found as well: the file that was read
last is left behind. The last line of output is a JSON object.
"""

import collections
import faulthandler
import io
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile

import numpy as np

# Of processor time, and on the clock, where other work may slow it.
SECONDS_PER_CASE = 10
MAX_SECONDS_PER_CASE = 60
MEMORY_BYTES = 1 << 30

# Numbers on which sizes, counts and offsets break.
_EDGES = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
_EDGES += [2**62, 2**63 - 1, 2**63, 2**64 - 1]
_ODD_VALUES = [None, True, -1, 0, 1.5, 10**18, 10**400, "", "x", "\ud800"]
_ODD_VALUES += [[], {}, [None], [[[]]], {"class_name": "Lambda"}, float("nan")]


def damage_bytes(data, noise):
    """Changes a few bytes, numbers or stretches."""
    data = bytearray(data)
    for _ in range(noise.choice((1, 1, 2, 4, 16))):
        place = noise.randrange(len(data) + 1)
        length = noise.choice((1, 2, 4, 8, 64, 1024))
        kind = noise.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << noise.randrange(8)
        elif kind == 1:
            data[place : place + length] = noise.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            other = noise.randrange(len(data) + 1)
            data[place:place] = data[other : other + length]
        elif kind == 4:
            width = noise.choice((1, 2, 4, 8))
            value = noise.choice(_EDGES) % 256**width
            order = noise.choice(("little", "big"))
            data[place : place + width] = value.to_bytes(width, order)
        elif kind == 5:
            del data[place:]
        else:
            data[place : place + length] = bytes(length)
    return bytes(data)


def damage_json(text, noise):
    """Changes a value, a field or the bytes of a JSON document."""
    if not noise.randrange(4):
        return damage_bytes(text, noise)
    value = json.loads(text)
    for _ in range(noise.choice((1, 1, 2, 4))):
        value = _change(value, noise)
    return json.dumps(value).encode()


def _change(value, noise):
    if not isinstance(value, dict | list) or not value:
        return noise.choice(_ODD_VALUES)
    value = value.copy()
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = noise.choice(list(keys))
    kind = noise.randrange(12)
    if kind == 0:
        return noise.choice(_ODD_VALUES)
    if kind == 1:
        del value[key]
    elif kind == 2 and isinstance(value, dict):
        value[str(noise.choice(_ODD_VALUES))] = value[key]
    elif kind == 3:
        value[key] = value[noise.choice(list(keys))]
    else:
        value[key] = _change(value[key], noise)
    return value


def damage_zip(data, noise):
    """Changes an archive's members and writes a sound archive of them."""
    if not noise.randrange(3):
        return damage_bytes(data, noise)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(i.filename, archive.read(i)) for i in archive.infolist()]
    chosen = noise.randrange(len(members))
    pickled = [i for i, (name, _) in enumerate(members) if ".pkl" in name]
    if pickled and noise.randrange(4):
        chosen = pickled[0]
    name, content = members[chosen]
    damage = damage_json if name.endswith(".json") else damage_bytes
    members[chosen] = name, damage(content, noise)
    if not noise.randrange(8):
        del members[noise.randrange(len(members))]
    made = io.BytesIO()
    compression = noise.choice((0, 0, 0, 8, 12, 14))
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return made.getvalue()


def damage_index(data, noise):
    """Changes a checkpoint's index, mostly with right check sums."""
    data = damage_bytes(data, noise) if noise.randrange(4) else data
    if len(data) < 60 or not noise.randrange(3):
        return damage_bytes(data, noise)
    # The first block begins the file; its length is found by trying.
    from efficientnet_tf.weights import checkpoint_index

    try:
        footer = data[-48:]
        _, place = checkpoint_index._read_handle(footer, 0)
        index, _ = checkpoint_index._read_handle(footer, place)
        block = checkpoint_index._read_block(data, index)
        handles = [
            checkpoint_index._read_handle(value, 0)[0]
            for _, value in checkpoint_index._list_block(block)
        ]
    except ValueError:
        return data
    mended = bytearray(data)
    for offset, size in (index, *handles):
        end = offset + size
        if end + 5 <= len(mended):
            total = _mask(_crc32c(bytes(mended[offset : end + 1])))
            mended[end + 1 : end + 5] = total.to_bytes(4, "little")
    return bytes(mended)


def _make_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _make_table()


def _crc32c(data):
    total = 0xFFFFFFFF
    for byte in data:
        total = (total >> 8) ^ _TABLE[(total ^ byte) & 0xFF]
    return total ^ 0xFFFFFFFF


def _mask(total):
    # As tensorflow/core/lib/hash/crc32c.h does.
    return ((total >> 15 | total << 17) + 0xA282EAD8) & 0xFFFFFFFF


DAMAGES = {
    "h5": damage_bytes,
    "weights.h5": damage_bytes,
    "keras": damage_zip,
    "run": damage_zip,
    "pth": damage_zip,
    "old pth": damage_bytes,
    "safetensors": damage_bytes,
    "checkpoint": damage_index,
    "objects": damage_index,
    "settings": damage_json,
    "config": damage_json,
    "variant": damage_json,
    "state": damage_zip,
}
# What `efficientnet export` writes, and runtimes of other people read.
EXPORTED = ("tflite", "onnx", "xml")
DAMAGES |= dict.fromkeys(EXPORTED, damage_bytes)


def make_reader(kind, network):
    """Returns a function that reads a damaged file as the commands do."""
    import hostile_files
    from efficientnet_tf.inference import (
        classifier,
        settings as settings_lib,
    )
    from efficientnet_tf.models import registry
    from efficientnet_tf.training import checkpoints, train_config
    from efficientnet_tf.utils import configs, run_folder
    from efficientnet_tf.weights import compatibility, loading, name_maps

    def read_weights(path):
        checkpoint = name_maps.read(path, hostile_files.make_row())
        skip = not compatibility.fits_head(
            network, checkpoint.arrays, path, random_head=True
        )
        loading.assign(network, checkpoint, skip_head=skip)

    def upgrade(stored):
        defaults = configs.list_defaults(train_config.TrainConfig)
        return registry.upgrade(defaults | stored)

    def read_config(path):
        run_folder.read_group_by(path.parent, "folder:x")
        run_folder.check_run(path, {"epochs": 350}, upgrade)

    def read_exported(path):
        from efficientnet_tf.deploy import runtimes

        found = runtimes.load_classifier(path)
        shape = (1, found.resolution, found.resolution, 3)
        found.model.predict_on_batch(np.zeros(shape, "float32"))

    weights = network.weights
    return {
        "run": lambda path: classifier.from_run(path.parent),
        "settings": lambda path: settings_lib.read_settings(path),
        "config": read_config,
        "variant": registry.get_variant,
        "state": lambda path: checkpoints.load(path.parent, weights),
        **dict.fromkeys(EXPORTED, read_exported),
    }.get(kind, read_weights)


def try_by_fork(file, path, seconds, content=None):
    """Reads an HDF5 file as `hdf5_files._try_apart` does, but faster.

    It forks, which only a process like this one may do.
    """
    from efficientnet_tf.utils import untrusted
    from efficientnet_tf.weights import hdf5_files

    child = os.fork()
    if not child:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        os._exit(hdf5_files.read_everything(file or io.BytesIO(content)))
    try:
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    if status:
        raise untrusted.DamagedError(f"{path} ends the process.")


def explain_fault(error, path):
    """Returns why an error is none that a user should see, or None."""
    text = str(error)
    named = path.name.removesuffix(".index") in text or path.parent.name in text
    if not isinstance(error, ValueError | OSError):
        return f"{type(error).__name__}: {text[:200]}"
    if "\n" in text or len(text) > 2000:
        return f"not one line: {text[:200]!r}"
    # The network's own message, which `loading.build` puts the file before.
    own = ("the file has", "was trained", "were trained")
    if not named and not any(words in text for words in own):
        return f"the file is not named: {text[:200]!r}"
    return None


def _out_of_time(number, _):
    clock = "a minute" if number == signal.SIGALRM else "ten seconds of work"
    raise BaseException(f"took longer than {clock}")


def _set_alarms(work, clock):
    signal.setitimer(signal.ITIMER_PROF, work)
    signal.alarm(clock)


def run(kind, seconds, seed):
    """Reads damaged files for a time; returns (cases, refused, failures)."""
    import hostile_files

    folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
    network = hostile_files.build()
    if kind in EXPORTED:
        path = hostile_files.write_exported(folder, kind)
    else:
        path = hostile_files.make_all(folder)[kind]
    sound = {path: path.read_bytes()}
    for data in (*path.parent.glob("*.data-*"), *path.parent.glob("*.bin")):
        sound[data] = data.read_bytes()
    read, noise = make_reader(kind, network), random.Random(seed)
    read(path)  # The sound file is read.
    cases, refused, failures = 0, 0, collections.Counter()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _out_of_time)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        target = path if noise.randrange(6) else noise.choice(list(sound))
        for each, content in sound.items():
            each.write_bytes(content)
        damage = DAMAGES[kind] if target == path else damage_bytes
        content = damage(sound[target], noise)
        target.write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _set_alarms(SECONDS_PER_CASE, MAX_SECONDS_PER_CASE)
        fault = None
        try:
            read(path)
        except Exception as error:
            refused += 1
            fault = explain_fault(error, path)
            if fault is not None:
                place = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{fault} at {place.filename}:{place.lineno}"
        except BaseException as error:
            fault = str(error)
        finally:
            _set_alarms(0, 0)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (after - before) * 1024 > MEMORY_BYTES:
            fault = f"took {(after - before) >> 10} MiB"
        cases += 1
        if fault is not None:
            failures[fault] += 1
            print(f"case {cases}: {fault}", flush=True)
            kept = folder / f"failure-{sum(failures.values())}"
            kept.write_bytes(content)
    if not failures:
        shutil.rmtree(folder)
    return cases, refused, failures


def main():
    import logging

    from efficientnet_tf.weights import hdf5_files

    logging.disable(logging.CRITICAL)
    hdf5_files._try_apart = try_by_fork
    kind, seconds, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    cases, refused, failures = run(kind, seconds, seed)
    found = {"kind": kind, "seed": seed, "cases": cases, "refused": refused}
    print(json.dumps({**found, "failures": sum(failures.values())}))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
