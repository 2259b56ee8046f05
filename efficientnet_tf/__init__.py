"""EfficientNet in Keras 3: the family, its scaling, its training.

Names load on first use, so that importing the package costs nothing and does
not import TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_CONSTRUCTORS = (
    *(f"EfficientNetB{i}" for i in range(9)),
    "EfficientNetL2",
    *(f"EfficientNetLite{i}" for i in range(5)),
)

# Public name -> the module that defines it.
_EXPORTS = {
    **dict.fromkeys(_CONSTRUCTORS, "applications"),
    "build": "weights",
    "feature_pyramid": "model",
    "profile": "profiling",
}
_MODULES = (
    "applications",
    "baselines",
    "classifier",
    "convert",
    "costs",
    "data",
    "evaluate",
    "export",
    "layers",
    "model",
    "preprocessing",
    "profiling",
    "scaling",
    "variants",
    "weights",
)

__all__ = [*_EXPORTS, *_MODULES]


def __getattr__(name):
    if name in _EXPORTS:
        module = importlib.import_module(f"{__name__}.{_EXPORTS[name]}")
        return getattr(module, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
