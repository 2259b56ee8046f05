"""Fixtures that all tests share."""

import gc
import importlib.util
import os

# Before anything imports TensorFlow, which reads it once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402
from absl import flags  # noqa: E402

import paths  # noqa: E402
import samples  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps what tests compute out of the user's cache."""
    name = "EFFICIENTNET_TF_CACHE"
    if name not in os.environ:
        os.environ[name] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def imports_are_no_garbage():
    """Lets the garbage collector pass over the million objects of Keras.

    Clearing Keras's state collects garbage, half a second each time.
    """
    import keras

    del keras
    gc.freeze()


@pytest.fixture(autouse=True)
def seed():
    """Seeds Python, NumPy and the backend, so that failures repeat."""
    import keras  # Here, so that tests without Keras start at once.

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def read_hdf5_here(request, monkeypatch):
    """Saves the process in which each HDF5 file is tried first.

    It takes a quarter of a second, and only hostile files need it.
    """
    if request.path.parent.name != "faults":
        monkeypatch.setattr(
            "efficientnet_tf.weights.hdf5_files._try_apart",
            lambda *arguments: None,
        )


@pytest.fixture(scope="module")
def load_benchmark():
    """A function that imports a file of benchmarks/ without running it.

    The flags that it defines go with the module of tests: two of these programs
    may use one name.
    """
    before = set(flags.FLAGS)

    def load(name):
        path = paths.ROOT / "benchmarks" / f"{name}.py"
        # Not its own name, which may be a package's.
        spec = importlib.util.spec_from_file_location(f"{name}_program", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.fixture(scope="session")
def shared_dir():
    """The optional folder of test data beside the checkout."""
    path = paths.ROOT.parent / "shared"
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
    return samples.make_folder


@pytest.fixture(scope="session")
def tiny_row():
    """A network of the family that builds and trains within seconds."""
    from efficientnet_tf.models import variants

    return samples.make_tiny_row(variants)
