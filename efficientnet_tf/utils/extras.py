"""Optional packages: a missing one is named before any work."""

import importlib.util

_TRANSFER = '"efficientnet-tf[transfer]"'

# Import name -> what `pip install` needs to bring it.
_INSTALLS = {
    "jax": "jax",
    "matplotlib": _TRANSFER,
    "optuna": _TRANSFER,
    "scipy": _TRANSFER,
    "sklearn": _TRANSFER,
    "tensorboard": _TRANSFER,
    "tensorflow_datasets": _TRANSFER,
}


def is_installed(package: str) -> bool:
    """Whether a package is there, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def require(purpose: str, *packages: str) -> None:
    """Checks that optional packages are there, without importing them.

    Args:
      purpose: what needs them, as the beginning of a sentence: "Charts".
      *packages: names as in `import`.

    Raises:
      ModuleNotFoundError: some are missing; it names the `pip install`.
    """
    missing = [name for name in packages if not is_installed(name)]
    if missing:
        installs = dict.fromkeys(_INSTALLS[name] for name in missing)
        raise ModuleNotFoundError(
            f"{purpose} need {', '.join(missing)} (not installed): "
            f"pip install {' '.join(installs)}"
        )
