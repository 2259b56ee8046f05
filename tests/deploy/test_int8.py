"""What stays float in int8, in each format's file."""

import dataclasses

import pytest

import samples
from efficientnet_tf.deploy import (
    converters,
    formats,
    int8,
    source as source_lib,
)

for package in ("ai_edge_litert", "onnxruntime", "openvino", "tf2onnx", "nncf"):
    pytest.importorskip(package)

SIZE = 32

# Of a network of three blocks with squeeze-and-excitation: its kernels, by how
# each file has them.
KERNELS = ["first", "block", *["gates"] * 2, "block"]
KERNELS += 2 * ["block", "block", "gates", "gates", "block"]
KERNELS += ["head", "last"]


@pytest.fixture(scope="module")
def original():
    images = samples.make_images(20, SIZE)
    return samples.make_classifier(images, "efficientnet_b0")


def _read_litert(path):
    """Returns (whether it is int8, scales) of each kernel."""
    from ai_edge_litert import interpreter

    found = interpreter.Interpreter(str(path))
    tensors = {t["index"]: t for t in found.get_tensor_details()}
    kernels = [
        tensors[op["inputs"][1]]
        for op in found._get_ops_details()
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]
    return [
        (t["dtype"].__name__, len(t["quantization_parameters"]["scales"]))
        for t in kernels
    ]


def _read_onnx(path):
    import onnx

    graph = onnx.load(path).graph
    makers = {out: node for node in graph.node for out in node.output}
    sizes = {each.name: each.dims for each in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            maker = makers.get(node.input[1])
            if maker is None:
                found.append(("float32", 0))
            else:
                assert maker.op_type == "DequantizeLinear"
                found.append(("int8", *(sizes[maker.input[1]] or [1])))
    return found


def _read_openvino(path):
    import openvino

    found = []
    for op in openvino.Core().read_model(path).get_ordered_ops():
        if op.get_type_name() not in (
            "Convolution",
            "GroupConvolution",
            "MatMul",
        ):
            continue
        above, kinds, scales = [op.input_value(1).get_node()], set(), 0
        while above:
            node = above.pop()
            kinds.add(node.get_element_type().get_type_name())
            if node.get_type_name() == "Multiply":
                scales = max(node.input_value(1).get_shape(), default=1)
            above += [value.get_node() for value in node.input_values()]
        found.append(("int8", scales) if "i8" in kinds else ("float32", 0))
    return found


READERS = {
    "litert": _read_litert,
    "onnx": _read_onnx,
    "openvino": _read_openvino,
}


@pytest.mark.parametrize("name", READERS)
def test_parts_stay_float_and_the_others_have_a_scale_for_each_tensor(
    original, tmp_path, name
):
    parts = (
        ("first", "head") if name == "openvino" else ("first", "gates", "head")
    )
    source = source_lib.prepare(
        original,
        samples.make_images(4, SIZE),
        int8=int8.Int8(weights="tensor", keep_float=parts),
    )
    row = formats.FORMATS[name]
    source = dataclasses.replace(source, batch_size=row.batch_size)
    path = tmp_path / f"a{row.suffix}"
    with converters.silent():
        row.load_module().write(original, source, path, "int8")
    found = READERS[name](path)
    assert len(found) == len(KERNELS)
    for part, (kind, scales) in zip(KERNELS, found, strict=True):
        # nncf keeps the gates by itself.
        if part == "block":
            assert (kind, scales) == ("int8", 1)
        else:
            assert kind == "float32"


@pytest.mark.parametrize(("part", "kept"), [("last", 1), ("head", 2)])
def test_the_activation_map_is_no_part_in_openvino(
    original, tmp_path, part, kept
):
    source = source_lib.prepare(
        original,
        samples.make_images(4, SIZE),
        activation_map=True,
        int8=int8.Int8(keep_float=(part,)),
    )
    path = tmp_path / "a.xml"
    with converters.silent():
        formats.FORMATS["openvino"].load_module().write(
            original, source, path, "int8"
        )
    found = [kind for kind, _ in _read_openvino(path)]
    assert len(found) == len(KERNELS) + 1
    assert found.count("float32") == KERNELS.count("gates") + kept


def test_kernels_have_a_scale_for_each_channel_by_default():
    assert int8.Int8() == int8.Int8("channel", ("first",), "performance")
    with pytest.raises(ValueError, match="'chanel'.* Did you mean 'channel'"):
        int8.Int8(weights="chanel")
    with pytest.raises(ValueError, match="part 'gate'.* Did you mean 'gates'"):
        int8.Int8(keep_float=("gate",))


def test_a_part_that_a_network_does_not_have_is_named():
    lite = samples.make_classifier(samples.make_images(4, SIZE))
    with pytest.raises(ValueError, match="has no gates to keep in float"):
        source_lib.prepare(
            lite,
            samples.make_images(1, SIZE),
            int8=int8.Int8(keep_float=("gates",)),
        )


def test_a_part_that_is_not_found_in_the_graph_is_not_passed_over(original):
    network = original.model
    nodes = [
        int8.Node("x", "functional_1/stem_conv_1/convolution", True),
        int8.Node("y", "a;functional_1/stem_bn_1/add", False),
        int8.Node("z", "functional_1/block1a_dwconv_1/stem", True),
    ]
    assert int8.find_nodes(network, ["first"], nodes) == ["x", "y"]
    for wrong in (nodes[1:], [*nodes, nodes[0]]):
        with pytest.raises(RuntimeError, match="has 1 layer with weights"):
            int8.find_nodes(network, ["first"], wrong)
