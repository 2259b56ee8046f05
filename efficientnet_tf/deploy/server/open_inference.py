"""Open Inference Protocol, version 2: requests and answers, without HTTP.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
with Triton's extensions for binary tensors and for classification.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from efficientnet_tf.deploy.server import (
    images as images_lib,
    limits,
    tf_serving,
)
from efficientnet_tf.utils import configs, documents, targets, untrusted

# The header with the size of the JSON before binary tensors.
HEADER = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data", "classification")
# Input -> its datatype; a request has one of them.
INPUTS = {"images": "FP32", "encoded": "BYTES"}
# A network has "probabilities" or "numbers", see `targets.Outputs`.
OUTPUTS = {
    "probabilities": "FP32",
    "numbers": "FP32",
    "prediction": "BYTES",
    "class_names": "BYTES",
}
_LENGTH = struct.Struct("<I")


@dataclasses.dataclass(frozen=True)
class Output:
    """One that a request asks for.

    `top` is for how many classes it has texts "probability:index:name"; 0: it
    is the tensor itself.
    """

    name: str
    binary: bool
    top: int = 0


@dataclasses.dataclass(frozen=True)
class Request:
    """Images, what is asked for, and the name that the sender gave."""

    images: list[images_lib.Image]
    outputs: tuple[Output, ...]
    name: str | None


def parse(
    body: bytes,
    header_bytes: str | None,
    size: tuple[int, int],
    values: str = "probabilities",
) -> Request:
    """Reads the body of an /infer request.

    Args:
      body: JSON, and binary tensors if the header says so.
      header_bytes: the value of `HEADER`, if it is there.
      size: (height, width) of the network's images.
      values: what the network gives, see `targets.Outputs`.

    Raises:
      limits.Refused: says what is wrong with it.
    """
    text, binary = body, b""
    if header_bytes is not None:
        # Python refuses to read a number of thousands of digits.
        known = header_bytes.isdecimal() and len(header_bytes) < 20
        if not known or int(header_bytes) > len(body):
            raise limits.Refused(
                400,
                f"{HEADER}: {header_bytes[:20]} does not go with a body of "
                f"{len(body)} bytes.",
            )
        text, binary = body[: int(header_bytes)], body[int(header_bytes) :]
    fields = tf_serving.parse_object(
        text,
        {"id": str, "inputs": list, "outputs": list, "parameters": dict},
        size,
    )
    inputs = fields.get("inputs", [])
    if len(inputs) != 1:
        raise limits.Refused(
            400,
            f"The request has {len(inputs)} inputs; it must have one of "
            f"{', '.join(INPUTS)}.",
        )
    tensor = _check(
        inputs[0],
        {
            "name": str,
            "datatype": str,
            "shape": list,
            "data": list,
            "parameters": dict,
        },
        "The input",
    )
    return Request(
        _read_input(tensor, binary, size),
        _read_outputs(fields, values),
        fields.get("id"),
    )


def _check(value, kinds, name):
    try:
        return documents.check_object(value, kinds, name)
    except untrusted.DamagedError as error:
        raise limits.Refused(400, str(error)) from None


def _read_input(tensor, binary, size):
    name, datatype = tensor.get("name"), tensor.get("datatype")
    if name not in INPUTS:
        raise limits.Refused(400, configs.unknown("input", name, INPUTS))
    if datatype != INPUTS[name]:
        raise limits.Refused(
            400,
            f"{name} must be of datatype {INPUTS[name]}, not "
            f"{str(datatype)[:20]}.",
        )
    shape = tensor.get("shape", [])
    if not all(type(side) is int and side >= 0 for side in shape):
        raise limits.Refused(400, f"The shape of {name} must be whole numbers.")
    sent = tensor.get("parameters", {}).get("binary_data_size")
    if (sent is None) == ("data" not in tensor):
        raise limits.Refused(
            400, f"{name} must have either data or a binary_data_size."
        )
    if sent is not None and (type(sent) is not int or sent != len(binary)):
        raise limits.Refused(
            400,
            f"{name} must have {str(sent)[:20]} bytes after the JSON, not "
            f"{len(binary)}.",
        )
    data = tensor["data"] if sent is None else binary
    if name == "images":
        return _read_tensor(data, shape, size)
    return _read_encoded(data, shape)


def _read_tensor(data, shape, size):
    images_lib.check_shape(shape, size)  # Before anything is multiplied.
    count = math.prod(shape)
    if isinstance(data, bytes):
        if len(data) != 4 * count:
            raise limits.Refused(
                400, f"Images of shape {shape} have {4 * count} bytes."
            )
        array = np.frombuffer(data, "<f4")
    else:
        try:
            array = np.asarray(data)
        except ValueError:
            raise limits.Refused(
                400, "The images are lists of different lengths."
            ) from None
        if array.size != count:
            raise limits.Refused(
                400,
                f"Images of shape {shape} have {count} numbers, not "
                f"{array.size}.",
            )
    rows = images_lib.check_tensor(array.reshape(shape), size)
    images_lib.check_count(rows)
    return rows


def _read_encoded(data, shape):
    wrong = limits.Refused(
        400,
        f"encoded must have the shape [N] of its N files, not "
        f"{str(shape[:5])[:60]}.",
    )
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise wrong
    if isinstance(data, bytes):
        files = _split(data, shape[0])
    else:
        # JSON has no bytes.
        files = [
            tf_serving.decode_base64(
                text.get("b64") if isinstance(text, dict) else text
            )
            for text in data
        ]
    images_lib.check_count(files)
    if len(files) != shape[0]:
        raise wrong
    return files


def _split(data, most):
    """Returns the elements of a binary BYTES tensor, each after its length.

    One more than there may be, if there are more.
    """
    files, place = [], 0
    while place < len(data) and len(files) <= min(most, tf_serving.MOST_VALUES):
        if place + _LENGTH.size > len(data):
            raise limits.Refused(400, "The bytes of encoded are cut short.")
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if place + length > len(data):
            raise limits.Refused(400, "The bytes of encoded are cut short.")
        files.append(data[place : place + length])
        place += length
    return files


def _read_outputs(fields, values):
    known = list_outputs(values)
    default = bool(fields.get("parameters", {}).get("binary_data_output"))
    if not fields.get("outputs"):
        return tuple(Output(name, default) for name in known)
    outputs = []
    for each in fields["outputs"]:
        kinds = {"name": str, "parameters": dict}
        asked = _check(each, kinds, "An output")
        name = asked.get("name")
        if name not in known:
            raise limits.Refused(400, configs.unknown("output", name, known))
        options = asked.get("parameters", {})
        top = options.get("classification", 0)
        if type(top) is not int or top < 0 or (top and name != "probabilities"):
            raise limits.Refused(
                400,
                "classification must be a number of classes, of probabilities.",
            )
        outputs.append(
            Output(name, bool(options.get("binary_data", default)), top)
        )
    return tuple(outputs)


def answer(
    request: Request,
    found: np.ndarray,
    meaning: targets.Outputs,
    model: Mapping[str, str],
) -> tuple[bytes, int | None]:
    """Returns the body of an answer, and the value of `HEADER`, if any.

    Args:
      request: what it asks for.
      found: float32 [N, classes].
      meaning: what these are.
      model: its "model_name" and "model_version".
    """
    outputs, parts = [], []
    for asked in request.outputs:
        values = _compute(asked, found, meaning)
        datatype = "FP32" if values.dtype == np.float32 else "BYTES"
        described: dict[str, Any] = {
            "name": asked.name,
            "datatype": datatype,
            "shape": list(values.shape),
        }
        if asked.binary:
            part = _to_bytes(values)
            parts.append(part)
            described["parameters"] = {"binary_data_size": len(part)}
        else:
            described["data"] = values.ravel().tolist()
        outputs.append(described)
    fields: dict[str, Any] = {**model, "outputs": outputs}
    if request.name is not None:
        fields["id"] = request.name
    text = json.dumps(fields).encode()
    if not parts:
        return text, None
    return b"".join([text, *parts]), len(text)


def _compute(asked, found, meaning):
    if asked.top:
        best = found.argsort(axis=1)[:, ::-1][:, : asked.top]
        texts = [
            [f"{row[i]:f}:{i}:{meaning.names[i]}" for i in indices]
            for row, indices in zip(found, best, strict=True)
        ]
        return np.array(texts, object)
    if asked.name == meaning.values:
        return found
    if asked.name == "class_names":
        return np.array(meaning.names, object)
    return np.array([meaning.describe(row) for row in found], object)


def _to_bytes(values):
    if values.dtype == np.float32:
        return values.astype("<f4").tobytes()
    texts = [text.encode(errors="replace") for text in values.ravel()]
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def describe_server(version: str) -> dict[str, Any]:
    """Returns what GET /v2 answers."""
    return {
        "name": "efficientnet-tf",
        "version": version,
        "extensions": list(EXTENSIONS),
    }


def list_outputs(values: str) -> list[str]:
    """Returns the names of the outputs of a network that gives `values`."""
    others = {"probabilities", "numbers"} - {values}
    return [name for name in OUTPUTS if name not in others]


def describe_model(
    name: str, version: str, size: tuple[int, int], meaning: targets.Outputs
) -> dict[str, Any]:
    """Returns what GET /v2/models/NAME answers.

    Of the two inputs a request has one; the protocol has no word for that but
    Triton's `optional`.
    """
    inputs = {"images": [-1, *size, 3], "encoded": [-1]}
    classes = len(meaning.names)
    outputs = {
        meaning.values: [-1, classes],
        "prediction": [-1],
        "class_names": [classes],
    }
    return {
        "name": name,
        "versions": [version],
        "platform": "efficientnet-tf",
        "inputs": [
            {
                "name": key,
                "datatype": INPUTS[key],
                "shape": shape,
                "parameters": {"optional": True},
            }
            for key, shape in inputs.items()
        ],
        "outputs": [
            {"name": key, "datatype": OUTPUTS[key], "shape": shape}
            for key, shape in outputs.items()
        ],
    }
