"""Fixtures that all tests share."""

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
