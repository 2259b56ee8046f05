"""LiteRT files (.tflite), for phones and browsers: written, read, run."""

import math
import os
import pathlib
import threading
import typing
from typing import Any

import numpy as np

from efficientnet_tf.deploy import (
    converters,
    int8 as int8_lib,
    metadata,
    network,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import untrusted

if typing.TYPE_CHECKING:
    from efficientnet_tf.deploy import source as source_lib  # Imports Keras.

_ANY_SIDE = -1
_ENDS = ("QUANTIZE", "DEQUANTIZE")

# What one tensor that is computed may have, as a multiple of the input: 53 for
# L2. Small inputs may have so many values whatever they are.
_MOST_OF_INPUT = 256
_MOST_VALUES = 1 << 24


def write(
    classifier: classifier_lib.Classifier,
    source: "source_lib.Source",
    path: pathlib.Path,
    precision: str,
) -> None:
    """Writes a file of LiteRT's own operations, with float32 at its ends.

    LiteRT.js takes no other ends, at any precision.

    Args:
      source: the network; for int8 with calibration images.
      path: the file.
      precision: "float32"; "float16", of the stored weights alone; or "int8",
        of weights and activations, see `int8.Int8`. A network with fake
        quantization has int8 alone, by its own ranges.

    Raises:
      ValueError: another precision of such a network.
      RuntimeError: some of it would be computed in float32.
    """
    import tensorflow as tf

    from efficientnet_tf.models import quantization

    options: dict[str, Any] = {}
    is_quantized = quantization.is_quantized(source.network)
    if is_quantized and precision != "int8":
        raise ValueError(
            f"LiteRT in {precision} cannot hold a network that was trained for "
            "int8."
        )
    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if precision != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        target["supported_types"] = [tf.float16]
    if precision == "int8" and not is_quantized:
        target["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        options |= _make_options(source)
    source.network.export(
        path,
        format="litert",
        input_signature=source.signature,
        verbose=False,
        target_spec=target,
        **options,
    )
    if is_quantized:
        # Only with calibration images can strict int8 be asked for.
        _check_int8(path)
    elif precision == "int8" and source.int8.keep_float:
        _quantize_rest(path, source)
    _add_metadata(path, metadata.to_text(source.settings, precision))


def _make_options(source):
    """Returns the converter's options of int8 by calibration images."""
    return {
        "representative_dataset": lambda: (
            [images] for images in source.batches()
        ),
        "_experimental_disable_per_channel": source.int8.weights == "tensor",
        # What stays float is told to the second step.
        "_experimental_calibrate_only": bool(source.int8.keep_float),
    }


def _quantize_rest(path, source):
    """Quantizes a calibrated file, but for what stays float."""
    from tensorflow.lite.python import convert

    int8 = source.int8
    quantized = convert.mlir_quantize(
        path.read_bytes(),
        disable_per_channel=int8.weights == "tensor",
        denylisted_nodes=int8_lib.find_nodes(
            source.network, int8.keep_float, _list_nodes(path)
        ),
    )
    path.write_bytes(quantized)


def _list_nodes(path):
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    (graph,) = model.subgraphs
    kinds = schema.BuiltinOperator
    with_kernel = (
        kinds.CONV_2D,
        kinds.DEPTHWISE_CONV_2D,
        kinds.FULLY_CONNECTED,
    )
    for operation in graph.operators:
        # The quantizer, too, names operations by their outputs.
        name = graph.tensors[operation.outputs[0]].name.decode()
        kind = model.operatorCodes[operation.opcodeIndex].builtinCode
        yield int8_lib.Node(name, name, kind in with_kernel)


def _check_int8(path):
    found = list_float_operations(path)
    if found:
        raise RuntimeError(
            f"LiteRT's converter left operations in float32: "
            f"{', '.join(sorted(set(found)))}."
        )


def list_float_operations(path: str | os.PathLike) -> list[str]:
    """Returns the names of a file's operations on floats.

    Without those at its ends, which make int8 of floats and back.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(pathlib.Path(path).read_bytes())
    )
    names = {v: k for k, v in vars(schema.BuiltinOperator).items()}
    floats = (schema.TensorType.FLOAT16, schema.TensorType.FLOAT32)
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            tensors = [*operator.inputs, *operator.outputs]
            types = {graph.tensors[i].type for i in tensors if i >= 0}
            if types & {*floats} and names[code] not in _ENDS:
                found.append(names[code])
    return found


def _add_metadata(path, text):
    """Writes text into a file, under the name `metadata.KEY`."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text.encode(), np.uint8)
    entry.name, entry.buffer = metadata.KEY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    flatbuffer_utils.write_model(model, str(path))


def load(path: pathlib.Path) -> classifier_lib.Classifier | None:
    """Returns the classifier of a file; see `network.to_classifier`."""
    return network.to_classifier(Network(path))


class Network(network.Network):
    """A LiteRT file as a network.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is no LiteRT file, or see `network.Network`.
    """

    def __init__(self, path: str | os.PathLike):
        from ai_edge_litert import interpreter

        untrusted.check_file(path)
        with (
            untrusted.reading(path, "not a readable LiteRT file"),
            converters.silent(),
        ):
            self._interpreter = interpreter.Interpreter(
                os.fspath(path), num_threads=os.cpu_count()
            )
            _check_sizes(path)
            # Here it says, on standard error, how it will compute.
            self._interpreter.allocate_tensors()
            # By the signature: the names of tensors are the converter's own.
            (signature,) = self._interpreter.get_signature_list()
            self._runner = self._interpreter.get_signature_runner(signature)
            inputs = _list_ends(self._runner.get_input_details())
            outputs = _list_ends(self._runner.get_output_details())
            text = _read_metadata(path)
        super().__init__(path, inputs, outputs, text)
        self._input = inputs[0].name
        self._name = outputs[self.output].name
        self._lock = threading.Lock()  # An interpreter is of one thread.

    def run(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._runner(**{self._input: images})[self._name]


def _check_sizes(path):
    """Raises DamagedError if a tensor claims far more memory than the input.

    The runtime would ask for it at once.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(pathlib.Path(path).read_bytes())
    for place in range(model.SubgraphsLength()):
        graph = model.Subgraphs(place)
        computed = {}
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            if not model.Buffers(tensor.Buffer()).DataLength():
                sides = (tensor.Shape(i) for i in range(tensor.ShapeLength()))
                computed[number] = math.prod(sides)
        inputs = (graph.Inputs(i) for i in range(graph.InputsLength()))
        most = _MOST_OF_INPUT * sum(computed.get(i, 0) for i in inputs)
        largest = max(computed.values(), default=0)
        if largest > max(most, _MOST_VALUES):
            raise untrusted.DamagedError(
                f"{os.fspath(path)} claims a tensor of {largest:,} values; "
                "refused."
            )


def _list_ends(details):
    return [
        network.End(
            name,
            np.dtype(detail["dtype"]).name,
            tuple(
                None if side == _ANY_SIDE else int(side)
                for side in detail["shape_signature"]
            ),
        )
        for name, detail in details.items()
    ]


def _read_metadata(path):
    """Returns the bytes under the name `metadata.KEY`, or None."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(pathlib.Path(path).read_bytes())
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name() == metadata.KEY.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    return None
