"""ONNX files, for ONNX Runtime, TensorRT and Triton: written, read, run."""

import os
import pathlib
import tempfile
import typing
from typing import Any

import numpy as np

from efficientnet_tf.deploy import (
    int8 as int8_lib,
    metadata,
    network,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import untrusted

if typing.TYPE_CHECKING:
    from efficientnet_tf.deploy import source as source_lib  # Imports Keras.

_BATCH = "N"


def write(
    classifier: classifier_lib.Classifier,
    source: "source_lib.Source",
    path: pathlib.Path,
    precision: str,
) -> None:
    """Writes an ONNX file, with float32 at its ends.

    Args:
      source: the network; for int8 with calibration images.
      path: the file.
      precision: "float32"; "float16", of weights and activations; or "int8",
        as pairs of QuantizeLinear and DequantizeLinear, see `int8.Int8`.
    """
    import onnx

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = pathlib.Path(folder, path.name)
        source.network.export(
            plain,
            format="onnx",
            input_signature=source.signature,
            verbose=False,
        )
        model = _WRITERS[precision](source, plain)
    if source.batch_size is None:
        for end in (*model.graph.input, *model.graph.output):
            end.type.tensor_type.shape.dim[0].dim_param = _BATCH
    text = metadata.to_text(source.settings, precision)
    onnx.helper.set_model_props(model, {metadata.KEY: text})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _read(_, path):
    import onnx

    return onnx.load(path)


def _to_float16(_, path):
    import onnx
    from onnxruntime.transformers import float16, onnx_model

    model = float16.convert_float_to_float16(
        onnx.load(path), keep_io_types=True
    )
    onnx_model.OnnxModel(model).topological_sort()  # It put the casts last.
    return model


def _to_int8(source, path):
    import onnx
    from onnxruntime import quantization

    folded = path.with_name(f"folded-{path.name}")
    quantization.shape_inference.quant_pre_process(
        path, folded, skip_symbolic_shape=True
    )
    quantized = path.with_name(f"int8-{path.name}")
    int8 = source.int8
    quantization.quantize_static(
        folded,
        quantized,
        _make_reader(source),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=int8.weights == "channel",
        nodes_to_exclude=int8_lib.find_nodes(
            source.network, int8.keep_float, _list_nodes(onnx.load(folded))
        ),
        # CPUs multiply unsigned by signed bytes.
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnx.load(quantized)


def _list_nodes(model):
    weights = {each.name for each in model.graph.initializer}
    return [
        int8_lib.Node(
            node.name,
            # Of fused convolutions only the weights have our names.
            ";".join([node.name, *(i for i in node.input if i in weights)]),
            node.op_type in ("Conv", "Gemm", "MatMul"),
        )
        for node in model.graph.node
    ]


_WRITERS = {"float32": _read, "float16": _to_float16, "int8": _to_int8}


def _make_reader(source):
    from onnxruntime import quantization

    parts = source.batches()

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            part = next(parts, None)
            return None if part is None else {metadata.INPUT: part}

    return Reader()


def load(path: pathlib.Path) -> classifier_lib.Classifier | None:
    """Returns the classifier of a file; see `network.to_classifier`."""
    return network.to_classifier(Network(path))


class Network(network.Network):
    """An ONNX file as a network.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is no ONNX file, or see `network.Network`.
    """

    def __init__(self, path: str | os.PathLike):
        import onnxruntime

        untrusted.check_file(path)
        with untrusted.reading(path, "not a readable ONNX file"):
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # Errors.
            self._session = onnxruntime.InferenceSession(
                os.fspath(path),
                options,
                providers=onnxruntime.get_available_providers(),
                # Without others it would say so at length, and try again.
                enable_fallback=False,
            )
            inputs = [_make_end(end) for end in self._session.get_inputs()]
            outputs = [_make_end(end) for end in self._session.get_outputs()]
            found = self._session.get_modelmeta().custom_metadata_map
        super().__init__(path, inputs, outputs, found.get(metadata.KEY))
        self._input = inputs[0].name
        self._name = outputs[self.output].name

    def run(self, images: np.ndarray) -> np.ndarray:
        feeds: dict[str, Any] = {self._input: images}
        return self._session.run([self._name], feeds)[0]


def _make_end(end):
    dtype = {"tensor(float)": "float32"}.get(end.type, end.type)
    sides = (side if isinstance(side, int) else None for side in end.shape)
    return network.End(end.name, dtype, tuple(sides))
