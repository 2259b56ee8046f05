"""Calls a function after a package has been imported, now or later."""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds one package as usual and calls `function` after its import."""

    def __init__(self, package, function):
        self._package = package
        self._function = function

    def find_spec(self, name, path=None, target=None):
        if name != self._package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_then_call(module):
                execute(module)
                self._function()

            # Of this one loader: whoever imports next gets a new one.
            spec.loader.exec_module = execute_then_call  # type: ignore[method-assign]
        return spec


def after_import(package: str, function: Callable[[], object]) -> None:
    """Calls `function` after the import of a package, or now if it is loaded.

    It imports nothing itself, so it costs nothing if the package is not used.
    """
    if package in sys.modules:
        function()
    else:
        sys.meta_path.insert(0, _AfterImport(package, function))
