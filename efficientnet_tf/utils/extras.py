"""Optional packages: a missing one is reported before any work."""

import importlib.util

_TRANSFER = '"efficientnet-tf[transfer]"'
_DEPLOY = '"efficientnet-tf[deploy]"'
_SERVE = '"efficientnet-tf[serve]"'
_SHARE = '"efficientnet-tf[share]"'

# Import name -> what `pip install` needs to bring it.
_INSTALLS = {
    "ai_edge_litert": _DEPLOY,
    "aiohttp": _SERVE,
    "huggingface_hub": _SHARE,
    "cleanlab": '"efficientnet-tf[labels]"',
    "datasets": '"efficientnet-tf[hf]"',
    "jax": "jax",
    "matplotlib": _TRANSFER,
    "mlflow": '"efficientnet-tf[mlflow]"',
    "nncf": _DEPLOY,
    "onnx": _DEPLOY,
    "onnxruntime": _DEPLOY,
    "openvino": _DEPLOY,
    "optuna": _TRANSFER,
    "prometheus_client": _SERVE,
    "psycopg2": '"efficientnet-tf[storage]"',
    "scipy": _TRANSFER,
    "sklearn": _TRANSFER,
    "tensorboard": _TRANSFER,
    "tensorflow_datasets": _TRANSFER,
    "tf2onnx": _DEPLOY,
    "wandb": '"efficientnet-tf[wandb]"',
}


def is_installed(package: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def require(purpose: str, *packages: str) -> None:
    """Checks that optional packages are installed, without importing them.

    Args:
      purpose: what needs them, as a plural subject: "Charts".
      *packages: names as in `import`.

    Raises:
      ModuleNotFoundError: names the missing ones and the `pip install`.
    """
    missing = [name for name in packages if not is_installed(name)]
    if missing:
        raise ModuleNotFoundError(
            f"{purpose} need {', '.join(missing)} (not installed): "
            f"{explain(*missing)}"
        )


def explain(*packages: str) -> str:
    """Returns the `pip install` that brings optional packages."""
    installs = dict.fromkeys(_INSTALLS[name] for name in packages)
    return f"pip install {' '.join(installs)}"
