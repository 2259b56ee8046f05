"""What stays float in int8, in each format's file."""

import dataclasses

import pytest

import samples
from efficientnet_tf.deploy import (
    converters,
    formats,
    source as source_lib,
)

for package in ("ai_edge_litert", "onnxruntime", "openvino", "tf2onnx", "nncf"):
    pytest.importorskip(package)

SIZE = 32


@pytest.fixture(scope="module")
def original():
    """A network with swish and squeeze-and-excitation: two blocks."""
    return samples.make_classifier(
        samples.make_images(20, SIZE), "efficientnet_b0"
    )


@pytest.fixture(scope="module")
def source(original):
    return source_lib.prepare(original, samples.make_images(8, SIZE))


def _write(original, source, path, how):
    row = formats.SUFFIXES[path.suffix]
    source = dataclasses.replace(source, batch_size=row.batch_size, int8=how)
    with converters.silent():
        row.load_module().write(original, source, path, "int8")
    return path


def _read_litert(path):
    """{convolution: type of its output}"""
    from ai_edge_litert import interpreter

    found = interpreter.Interpreter(str(path))
    tensors = {t["index"]: t for t in found.get_tensor_details()}
    return [
        tensors[op["outputs"][0]]["dtype"].__name__
        for op in found._get_ops_details()
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]


def _read_onnx(path):
    import onnx

    graph = onnx.load(path).graph
    makers = {out: node.op_type for node in graph.node for out in node.output}
    return [
        "int8" if makers.get(node.input[1]) == "DequantizeLinear" else "float32"
        for node in graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm")
    ]


def _read_openvino(path):
    import openvino

    found = []
    for op in openvino.Core().read_model(path).get_ordered_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            above = [op.input_value(1).get_node()]
            kinds = set()
            while above:
                node = above.pop()
                kinds.add(node.get_element_type().get_type_name())
                above += [value.get_node() for value in node.input_values()]
            found.append("int8" if "i8" in kinds else "float32")
    return found


READERS = {
    ".tflite": _read_litert,
    ".onnx": _read_onnx,
    ".xml": _read_openvino,
}
