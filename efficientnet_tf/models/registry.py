"""Every network by name or file: the one place where users' input is resolved.

A variant file is one JSON object with all fields of a `variants.Variant`, or
with "base" (a name) and the fields that differ from it.
"""

import dataclasses
import os
import pathlib
from typing import Any

from efficientnet_tf.models import baselines, variants
from efficientnet_tf.utils import configs, documents, files, untrusted

FILE_SUFFIX = ".json"

# What `get_variant` takes.
Model = str | os.PathLike | variants.Variant

_FIELDS = tuple(field.name for field in dataclasses.fields(variants.Variant))
_STAGE_FIELDS = tuple(f.name for f in dataclasses.fields(variants.Stage))
_REQUIRED = ("width", "depth", "resolution", "dropout", "stages")


def list_models() -> tuple[str, ...]:
    """Returns the names of all networks: the family, then the baselines."""
    return (*variants.VARIANTS, *baselines.BASELINES)


def get_variant(model: Model, **changes: Any) -> variants.Variant:
    """Returns the `Variant` of a name or a file; a `Variant` passes through.

    Keyword arguments replace fields:
    `get_variant("resnet50", depth=1.4, resolution=288)`.

    Raises:
      ValueError: an unknown name, an invalid file, or an invalid change.
      FileNotFoundError: there is no such file.
    """
    if isinstance(model, variants.Variant):
        variant = model
    elif is_file(model):
        variant = read_file(model)
    else:
        variant = _get_row(model)
    _check_fields(changes, _FIELDS)
    return dataclasses.replace(variant, **changes) if changes else variant


def is_file(model: Model) -> bool:
    """Whether a model is given as the path of a variant file."""
    return isinstance(model, str | os.PathLike) and str(model).endswith(
        FILE_SUFFIX
    )


def read_file(path: str | os.PathLike) -> variants.Variant:
    """Returns the `Variant` that a file specifies.

    Raises:
      OSError: there is no such file.
      ValueError: it is not JSON, or a field is unknown, mistyped or missing.
    """
    fields = documents.read_object(pathlib.Path(path).expanduser(), {})
    try:
        return from_fields(fields)
    except ValueError as error:
        raise untrusted.DamagedError(
            f"{path}: {untrusted.shorten(error)}"
        ) from None


def write_file(path: str | os.PathLike, model: Model) -> None:
    """Writes a model's `Variant` with all its fields as a variant file."""
    files.write_json(path, dataclasses.asdict(get_variant(model)))


def from_fields(fields: dict) -> variants.Variant:
    """Returns the `Variant` of a variant file's JSON object.

    Raises:
      ValueError: a field is unknown, mistyped or missing.
    """
    whole = isinstance(fields, dict) and set(_REQUIRED) <= set(fields)
    if not whole and not (
        isinstance(fields, dict) and isinstance(fields.get("base"), str)
    ):
        raise ValueError(
            'it must be one JSON object with a "base", or with '
            f"{', '.join(_REQUIRED)}."
        )
    _check_fields(fields, ("base", *_FIELDS))
    changes = {name: value for name, value in fields.items() if name != "base"}
    if "stages" in changes:
        changes["stages"] = _read_stages(changes["stages"])
    if "base" in fields:
        return dataclasses.replace(_get_row(fields["base"]), **changes)
    return variants.Variant(**changes)


def upgrade(stored: dict) -> dict:
    """Returns a stored configuration with its "network" as a whole `Variant`.

    Earlier versions stored a variant file's base and changed fields, or fewer
    fields than there are now.
    """
    network = stored.get("network")
    if not isinstance(network, dict):
        return stored
    return {**stored, "network": dataclasses.asdict(from_fields(network))}


def _get_row(name):
    rows = {**variants.VARIANTS, **baselines.BASELINES}
    if name not in rows:
        raise ValueError(
            configs.unknown(
                "model", name, rows, otherwise=f"a {FILE_SUFFIX} file"
            )
        )
    return rows[name]


def _check_fields(fields, choices):
    for name in fields:
        if name not in choices:
            message = configs.unknown("field", name, choices)
            # It follows the name of a file or the number of a stage.
            raise ValueError(message[0].lower() + message[1:])


def _read_stages(rows):
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise ValueError(
            f"stages={str(rows)[:60]} must be a list of objects with "
            f"{', '.join(_STAGE_FIELDS)}."
        )
    stages = []
    for number, row in enumerate(rows, start=1):
        try:
            _check_fields(row, _STAGE_FIELDS)
            missing = [name for name in _STAGE_FIELDS[:-1] if name not in row]
            if missing:
                raise ValueError(f"{missing[0]} is missing.")
            stages.append(variants.Stage(**row))
        except ValueError as error:
            raise ValueError(f"stage {number}: {error}") from None
    return tuple(stages)
