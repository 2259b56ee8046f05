import importlib
import importlib.util
import sys

import pytest

from efficientnet_tf.utils import import_hooks


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "a_hooked_package.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "a_hooked_package"
    sys.modules.pop("a_hooked_package", None)


def test_a_function_is_called_once_after_the_import(package):
    calls = []
    import_hooks.after_import(package, lambda: calls.append(1))
    before = list(sys.meta_path)
    assert not calls
    # TensorFlow looks for Keras so, long before it imports it.
    assert importlib.util.find_spec(package) is not None
    assert not calls
    assert importlib.import_module(package).value == 1
    assert calls == [1]
    assert len(sys.meta_path) == len(before) - 1


def test_a_package_that_is_loaded_already_is_not_waited_for(package):
    importlib.import_module(package)
    calls = []
    import_hooks.after_import(package, lambda: calls.append(1))
    assert calls == [1]
