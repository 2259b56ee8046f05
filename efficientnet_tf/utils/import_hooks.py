"""Does something around or after the import of a package, now or later."""

import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable


class _WrappedImport(importlib.abc.MetaPathFinder):
    """Finds one package as usual and has `wrap` execute it."""

    def __init__(self, package, wrap):
        self._package = package
        self._wrap = wrap
        self._searching = False

    def find_spec(self, name, path=None, target=None):
        if name != self._package or self._searching:
            return None
        self._searching = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            # Of this one loader: whoever imports next gets a new one.
            spec.loader.exec_module = functools.partial(  # type: ignore[method-assign]
                self._execute, spec.loader.exec_module
            )
        return spec

    def _execute(self, execute, module):
        # Not already when it is found: TensorFlow looks for Keras long before
        # it imports it.
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._wrap(execute, module)


def wrap_import(package: str, wrap: Callable[..., object]) -> None:
    """Calls `wrap(execute, module)` in place of a package's `execute(module)`.

    It imports nothing itself, so it costs nothing if the package is not used.
    """
    sys.meta_path.insert(0, _WrappedImport(package, wrap))


def after_import(package: str, function: Callable[[], object]) -> None:
    """Calls `function` after a package is imported, or now if it is loaded."""

    def execute_then_call(execute, module):
        execute(module)
        function()

    if package in sys.modules:
        function()
    else:
        wrap_import(package, execute_then_call)
