"""OpenVINO's files (.xml and .bin), for Intel's and AMD's CPUs."""

import contextlib
import os
import pathlib
import tempfile
import threading
import typing
from collections.abc import Iterator

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

# How the CPU computes; by itself it takes bfloat16 where it can.
_COMPUTED_IN = {"bfloat16": "bf16", "float16": "f32"}
_MOST_TEXT = 4 << 20  # Bytes that an .xml file surely does not exceed.
# Operations with a kernel.
_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")


def write(
    classifier: classifier_lib.Classifier,
    source: "source_lib.Source",
    path: pathlib.Path,
    precision: str,
) -> None:
    """Writes an .xml file, and its weights beside it, with float32 at its ends.

    Args:
      source: the network; for int8 with calibration images.
      path: the .xml file.
      precision: "float32"; "float16", of the stored weights alone; "bfloat16",
        in which `Network` computes; or "int8", see `int8.Int8`.
    """
    import openvino

    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        _explained(source, folder),
    ):
        plain = pathlib.Path(folder, path.name)
        source.network.export(
            str(plain),
            format="openvino",
            input_signature=source.signature,
            verbose=False,
        )
        model = openvino.Core().read_model(plain)
        if precision == "int8":
            model = _quantize(model, source)
        model.set_rt_info(
            metadata.to_text(source.settings, precision), [metadata.KEY]
        )
        openvino.save_model(
            model, path, compress_to_fp16=precision == "float16"
        )


@contextlib.contextmanager
def _explained(source, folder) -> Iterator[None]:
    """Raises the system's error where OpenVINO cannot write."""
    try:
        yield
    except RuntimeError as error:
        # Its message, "iostream error", says no more; what is wrong with the
        # disk shows again.
        if "iostream" in str(error):
            size = 4 * source.network.count_params() + _MOST_TEXT
            pathlib.Path(folder, "again").write_bytes(bytes(size))
        raise


def _quantize(model, source):
    import nncf
    from nncf.quantization import advanced_parameters as advanced

    int8, batches = source.int8, [*source.batches()]
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        preset=nncf.QuantizationPreset(int8.preset),
        ignored_scope=nncf.IgnoredScope(names=_find_float(model, source)),
        advanced_parameters=advanced.AdvancedQuantizationParameters(
            weights_quantization_params=advanced.QuantizationParameters(
                per_channel=int8.weights == "channel"
            )
        ),
    )


def _find_float(model, source):
    """Returns the names of the operations that stay float."""
    parts = source.int8.keep_float
    found = {
        op.get_friendly_name(): op.get_type_name()
        for part in parts
        for op in _find_part(model, part)
    }
    kernels = [kind for kind in found.values() if kind in _WEIGHTED]
    int8_lib.check_kernels(source.network, parts, len(kernels))
    return [*found]


def _find_part(model, part):
    """Returns a part's operations, see `int8.PARTS`.

    By the shape of the graph: OpenVINO's operations do not keep our names.
    """
    # Without the activation map, which is a branch of its own.
    before = _list_before(model)
    operations = [
        op for op in model.get_ordered_ops() if op.get_friendly_name() in before
    ]
    weighted = [op for op in operations if op.get_type_name() in _WEIGHTED]
    pools = [op for op in operations if op.get_type_name() == "ReduceMean"]
    if part == "first":
        return weighted[:1]
    if part == "gates":
        return [op for p in pools[:-1] for op in _follow(p, "Multiply", before)]
    begin = weighted[-1]
    if part == "head":
        begin = pools[-1].input_value(0).get_node()
        while begin.get_type_name() not in _WEIGHTED:
            begin = begin.input_value(0).get_node()
    return _follow(begin, "Result", before)


def _list_before(model):
    """Returns the names of all operations that the probabilities come from."""
    named = [
        output
        for output in model.outputs
        if {metadata.PROBABILITIES, metadata.NUMBERS} & output.names
    ]
    following = [(named or model.outputs)[0].get_node()]
    found = set()
    while following:
        operation = following.pop()
        if operation.get_friendly_name() not in found:
            found.add(operation.get_friendly_name())
            following += [
                value.get_node() for value in operation.input_values()
            ]
    return found


def _follow(operation, end, among):
    """Returns an operation, and what follows it among some, to a type."""
    found, following = [], [operation]
    while following:
        operation = following.pop()
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        if kind == "Result" or name not in among:
            continue
        found.append(operation)
        if kind != end:
            following += [
                port.get_node()
                for output in operation.outputs()
                for port in output.get_target_inputs()
            ]
    return found


def load(path: pathlib.Path) -> classifier_lib.Classifier | None:
    """Returns the classifier of a file; see `network.to_classifier`."""
    return network.to_classifier(Network(path))


class Network(network.Network):
    """An .xml file of OpenVINO as a network, on the CPU.

    Raises:
      OSError: there is no such file, or no weights beside it.
      untrusted.DamagedError: it is no such file, or see `network.Network`.
    """

    def __init__(self, path: str | os.PathLike):
        import openvino

        path = pathlib.Path(path)
        untrusted.check_file(path)
        weights = path.with_suffix(".bin")
        if not weights.exists():
            raise FileNotFoundError(
                f"{path} needs {weights.name} beside it, which has its weights."
            )
        untrusted.check_file(weights)
        with untrusted.reading(path, "not a readable OpenVINO file"):
            core = openvino.Core()
            # A damaged file is given to readers of other formats too, which
            # write to standard error.
            with converters.silent():
                model = core.read_model(path)
            text = None
            if model.has_rt_info([metadata.KEY]):
                text = model.get_rt_info([metadata.KEY]).astype(str)
            inputs = [_make_end(port) for port in model.inputs]
            outputs = [_make_end(port) for port in model.outputs]
        super().__init__(path, inputs, outputs, text)
        precision = self.metadata.precision if self.metadata else "float32"
        with untrusted.reading(path, "not a readable OpenVINO file"):
            hint = {
                "INFERENCE_PRECISION_HINT": _COMPUTED_IN.get(precision, "f32")
            }
            self._compiled = core.compile_model(model, "CPU", hint)

        self._lock = threading.Lock()  # All calls share one request.

    def run(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._compiled(images)[self.output]


def _make_end(port):
    sides = port.partial_shape
    return network.End(
        port.any_name if port.names else "",
        port.element_type.to_dtype().name,
        tuple(s.get_length() if s.is_static else None for s in sides),
    )
