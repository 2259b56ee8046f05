"""TensorFlow Serving's REST API: requests and answers, without HTTP.

https://www.tensorflow.org/tfx/serving/api_rest, and for what it leaves open
tensorflow_serving/util/json_tensor.cc.
"""

import base64
import binascii
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from efficientnet_tf.deploy import metadata
from efficientnet_tf.deploy.server import images as images_lib, limits
from efficientnet_tf.utils import configs, documents, targets, untrusted

# A signature of `saved_model` and its only input.
INPUTS = {
    metadata.TENSOR_SIGNATURE: "images",
    metadata.BYTES_SIGNATURE: "encoded",
}
ROWS, COLUMNS = "instances", "inputs"
# Numbers, texts and lists of a JSON request, or two images' if that is more:
# Python reads a million in a second, in which it can do nothing else.
MOST_VALUES = 2**20


@dataclasses.dataclass(frozen=True)
class Request:
    """Images, and whether the answer is a row for each or a column for all."""

    images: list[images_lib.Image]
    in_columns: bool


def parse(body: bytes, size: tuple[int, int]) -> Request:
    """Reads the body of a :predict request.

    Args:
      body: JSON.
      size: (height, width) of the network's images.

    Raises:
      limits.Refused: says what is wrong with it.
    """
    fields = parse_object(body, {"signature_name": str}, size)
    given = [key for key in (ROWS, COLUMNS) if key in fields]
    if len(given) != 1:
        raise limits.Refused(
            400,
            f"A request holds either {ROWS!r} or {COLUMNS!r}, not "
            f"{' and '.join(map(repr, given)) or 'none of them'}.",
        )
    signature = fields.get("signature_name")
    if signature is not None and signature not in INPUTS:
        raise limits.Refused(
            400, configs.unknown("signature_name", signature, INPUTS)
        )
    if given == [ROWS]:
        name, values = _read_rows(fields[ROWS])
    else:
        name, values = _read_columns(fields[COLUMNS])
    return Request(
        _to_images(signature, name, values, size), given == [COLUMNS]
    )


def parse_object(
    body: bytes, kinds: Mapping[str, Any], size: tuple[int, int]
) -> dict[str, Any]:
    """Returns the JSON object of a request, or raises `limits.Refused`.

    Args:
      body: JSON.
      kinds: {field: type}, see `documents.read_object`.
      size: (height, width) of the network's images.
    """
    most = max(MOST_VALUES, 2 * 3 * math.prod(size))
    if sum(map(body.count, (b",", b"[", b"{"))) > most:
        raise limits.Refused(
            413,
            f"The request's JSON holds more than {most:,} values; send files, "
            "or binary tensors by /v2.",
        )
    try:
        value = documents.parse(body, "The request")
        return documents.check_object(value, kinds, "The request")
    except untrusted.DamagedError as error:
        raise limits.Refused(400, str(error)) from None


def decode_base64(text: Any) -> bytes:
    """Returns the bytes of base64, of either alphabet, padded or not."""
    if not isinstance(text, str):
        raise limits.Refused(400, "An image's base64 must be a text.")
    data = text.encode(errors="replace").translate(_STANDARD).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise limits.Refused(
            400, f"An image's base64 is damaged: {error}."
        ) from None


_STANDARD = bytes.maketrans(b"-_", b"+/")


def _read_rows(rows):
    """Returns the input's name, or None, and its values, one for each image."""
    if not isinstance(rows, list):
        raise limits.Refused(400, f"{ROWS!r} must be a list.")
    names: set[str | None] = set()
    values = []
    for row in rows:
        name, value = None, row
        if isinstance(row, dict) and not _is_base64(row):
            name, value = _only_item(row)
        names.add(name)
        values.append(value)
    if len(names) > 1:
        raise limits.Refused(400, "The instances have different inputs.")
    return (names or {None}).pop(), values


def _read_columns(columns):
    name = None
    if isinstance(columns, dict) and not _is_base64(columns):
        name, columns = _only_item(columns)
    if not isinstance(columns, list):
        raise limits.Refused(
            400, f"{COLUMNS!r} must be a list with an item for each image."
        )
    return name, columns


def _only_item(fields):
    if len(fields) != 1:
        raise limits.Refused(
            400, f"There is one input, not {len(fields)}: see {_list_inputs()}."
        )
    return next(iter(fields.items()))


def _is_base64(value):
    return isinstance(value, dict) and set(value) == {"b64"}


def _to_images(signature, name, values, size):
    images_lib.check_count(values)
    if signature is None:
        # As the input says, or what is there.
        encoded = name == INPUTS[metadata.BYTES_SIGNATURE] or (
            name is None and _is_base64(values[0])
        )
        signature = (
            metadata.BYTES_SIGNATURE if encoded else metadata.TENSOR_SIGNATURE
        )
    if name not in (None, INPUTS[signature]):
        raise limits.Refused(
            400, f"{signature} has no input {name[:60]!r}: {_list_inputs()}."
        )
    if signature == metadata.TENSOR_SIGNATURE:
        return images_lib.check_tensor(values, size)
    if not all(map(_is_base64, values)):
        raise limits.Refused(
            400, 'The bytes of an image are {"b64": "..."}, as base64.'
        )
    return [decode_base64(value["b64"]) for value in values]


def _list_inputs():
    return ", ".join(f"{name} of {key}" for key, name in INPUTS.items())


def answer(
    request: Request, found: np.ndarray, outputs: targets.Outputs
) -> dict[str, Any]:
    """Returns the answer of a :predict request.

    A row has no class names: TensorFlow Serving takes there only outputs with a
    value for each image.

    Args:
      request: it decides the format.
      found: float32 [N, classes].
      outputs: what these are.
    """
    columns = {
        outputs.values: found.tolist(),
        "prediction": [outputs.describe(row) for row in found],
    }
    if request.in_columns:
        return {"outputs": {**columns, "class_names": list(outputs.names)}}
    rows = zip(*columns.values(), strict=True)
    return {
        "predictions": [dict(zip(columns, row, strict=True)) for row in rows]
    }


def describe_status(version: str, ready: bool) -> dict[str, Any]:
    """Returns what GET /v1/models/NAME answers."""
    return {
        "model_version_status": [
            {
                "version": version,
                "state": "AVAILABLE" if ready else "UNLOADING",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def describe_model(
    name: str, version: str, size: tuple[int, int], outputs: targets.Outputs
) -> dict[str, Any]:
    """Returns what GET /v1/models/NAME/metadata answers."""
    classes = len(outputs.names)
    tensors = {
        outputs.values: _describe("DT_FLOAT", -1, classes),
        "class_names": _describe("DT_STRING", classes),
        "prediction": _describe("DT_STRING", -1),
    }
    inputs = {
        metadata.TENSOR_SIGNATURE: _describe("DT_FLOAT", -1, *size, 3),
        metadata.BYTES_SIGNATURE: _describe("DT_STRING", -1),
    }
    signatures = {
        signature: {
            "inputs": {INPUTS[signature]: tensor},
            "outputs": tensors,
            "method_name": "tensorflow/serving/predict",
        }
        for signature, tensor in inputs.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _describe(dtype, *shape):
    sides = [{"size": str(side), "name": ""} for side in shape]
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": sides, "unknown_rank": False},
        "name": "",
    }
