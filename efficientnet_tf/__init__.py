"""EfficientNet in Keras 3: the models, their scaling, their training.

Names load on first use, so that importing the package costs nothing and does
not import TensorFlow.
"""

import importlib
from typing import Any

from efficientnet_tf.utils import import_hooks

__version__ = "0.1.0"

_CONSTRUCTORS = (
    *(f"EfficientNetB{i}" for i in range(9)),
    "EfficientNetL2",
    *(f"EfficientNetLite{i}" for i in range(5)),
    *(
        f"EfficientNetV2{size}"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L", "XL")
    ),
)

# Public name -> the module that defines it.
_EXPORTS = {
    **dict.fromkeys(_CONSTRUCTORS, "weights.applications"),
    "build": "weights.loading",
    "class_activation_map": "inference.explain",
    "decode_predictions": "data.imagenet",
    "feature_pyramid": "models.features",
    "get_variant": "models.registry",
    "grad_cam": "inference.explain",
    "list_models": "models.registry",
    "load_classifier": "deploy.runtimes",
    "preprocess_input": "weights.applications",
    "profile": "models.profile",
    "with_activation_map": "inference.activation_maps",
}
# Public module -> its room, or a folder of it.
_MODULES = {
    "applications": "weights",
    "catalog": "weights",
    "classifier": "inference",
    "costs": "models",
    "datasets": "data",
    "imagenet": "data",
    "evaluate": "inference",
    "explain": "inference",
    "features": "models",
    "layers": "models",
    "preprocessing": "data",
    "registry": "models",
    "saved_model": "deploy",
    "scaling": "models",
    "sources": "data.sets",
    "variants": "models",
}
_ROOMS = (
    "data",
    "deploy",
    "inference",
    "measure",
    "models",
    "search",
    "training",
    "utils",
    "weights",
)

__all__ = [*_EXPORTS, *_MODULES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        module = importlib.import_module(f"{__name__}.{_EXPORTS[name]}")
        return getattr(module, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}.{name}")
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


# `keras.models.load_model` finds the layers of our networks only once they are
# registered; importing this package is meant to be enough.
def _register_layers() -> None:
    for module in ("class_token", "layers", "fake_quantization"):
        importlib.import_module(f"{__name__}.models.{module}")


import_hooks.after_import("keras", _register_layers)
