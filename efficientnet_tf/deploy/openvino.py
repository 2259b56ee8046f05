"""OpenVINO's files (.xml and .bin), for Intel's and AMD's CPUs."""

import os
import pathlib
import tempfile

import numpy as np

from efficientnet_tf.deploy import (
    converters,
    metadata,
    network,
    source as source_lib,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import untrusted

# How the CPU computes; by itself it takes bfloat16 where it can.
_COMPUTED_IN = {"bfloat16": "bf16", "float16": "f32"}


def write(
    classifier: classifier_lib.Classifier,
    source: source_lib.Source,
    path: pathlib.Path,
    precision: str,
) -> None:
    """Writes an .xml file, and its weights beside it, with float32 at its ends.

    Args:
      source: the network; for int8 with calibration images.
      path: the .xml file.
      precision: "float32"; "float16", of the stored weights alone; "bfloat16",
        in which `Network` computes; or "int8", weights by channel.
    """
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = pathlib.Path(folder, path.name)
        source.network.export(
            str(plain),
            format="openvino",
            input_signature=source.signature,
            verbose=False,
        )
        model = openvino.Core().read_model(plain)
        if precision == "int8":
            model = _quantize(model, source.calibration)
        model.set_rt_info(
            metadata.to_text(source.settings, precision), [metadata.KEY]
        )
        openvino.save_model(
            model, path, compress_to_fp16=precision == "float16"
        )


def _quantize(model, images):
    import nncf

    return nncf.quantize(
        model,
        nncf.Dataset([image[None] for image in images]),
        subset_size=len(images),
    )


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
        for file in (path, path.with_suffix(".bin")):
            untrusted.check_file(file)
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

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._compiled(images)[self.output]


def _make_end(port):
    sides = port.partial_shape
    return network.End(
        port.any_name if port.names else "",
        port.element_type.to_dtype().name,
        tuple(s.get_length() if s.is_static else None for s in sides),
    )
