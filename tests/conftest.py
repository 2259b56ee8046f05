"""Fixtures that all tests share."""

import importlib.util
import os
import pathlib

# Before anything imports TensorFlow, which reads it once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def seed():
    """Seeds Python, NumPy and the backend, so that failures repeat."""
    import keras  # Here, so that tests without Keras start at once.

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def load_benchmark():
    """A function that imports a file of benchmarks/ without running it."""

    def load(name):
        path = ROOT / "benchmarks" / f"{name}.py"
        # Not its own name, which may be a package's.
        spec = importlib.util.spec_from_file_location(f"{name}_program", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def shared_dir():
    """The optional folder of test data beside the checkout."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the shared test data in {path}")
    return path


@pytest.fixture(scope="session")
def data_dir(shared_dir):
    """A TFDS data directory with small subsets of the real data sets."""
    return shared_dir / "data" / "tfds"


@pytest.fixture(scope="session")
def make_folder():
    """A function that writes a folder of class folders with small images."""
    return _make_folder


def _make_folder(root, counts, size=40):
    """Writes {class name: number of PNG images}, of one colour a class.

    The top left pixel tells the images of a class apart.
    """
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        folder = pathlib.Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = noise.integers(0, 60, (size, size, 3), dtype=np.uint8)
            pixels[..., label % 3] += 190
            pixels[0, 0] = (i, label, 0)
            Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return pathlib.Path(root)


@pytest.fixture(scope="session")
def tiny_row():
    """A network of the family that builds and trains within seconds."""
    from efficientnet_tf.models import variants

    return make_tiny_row(variants)


def make_tiny_row(variants):
    import dataclasses

    b0 = variants.VARIANTS["efficientnet_b0"]
    return dataclasses.replace(
        b0, width=0.25, stages=b0.stages[:2], head_filters=128, resolution=32
    )
