"""How each exported file is loaded, as text of a model card."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from efficientnet_tf.deploy import formats, metadata

# Format -> code without this package, from `images` to `probabilities`; FILE
# stands for the path, as a Python literal.
SNIPPETS = {
    "saved_model": (
        "import tensorflow as tf",
        "",
        "model = tf.saved_model.load(FILE)",
        'serve = model.signatures["serving_default"]',
        "probabilities = serve(images=tf.constant(images))"
        f'["{metadata.PROBABILITIES}"].numpy()',
    ),
    "keras": (
        "import keras",
        "",
        "network = keras.models.load_model(FILE)",
        "probabilities = network.predict(images)",
    ),
    "litert": (
        "import numpy as np",
        "from ai_edge_litert import interpreter",
        "",
        "run = interpreter.Interpreter(FILE).get_signature_runner()",
        f'size = run.get_input_details()["{metadata.INPUT}"]["shape"][0]',
        "probabilities = np.concatenate([",
        f"    run({metadata.INPUT}=images[i : i + size])"
        f'["{metadata.PROBABILITIES}"]',
        "    for i in range(0, len(images), size)",
        "])",
    ),
    "onnx": (
        "import onnxruntime",
        "",
        "session = onnxruntime.InferenceSession(FILE)",
        f'outputs = session.run(["{metadata.PROBABILITIES}"], '
        f'{{"{metadata.INPUT}": images}})',
        "probabilities = outputs[0]",
    ),
    "openvino": (
        "import openvino",
        "",
        # By itself it computes in bfloat16 where a CPU has that.
        'exact = {"INFERENCE_PRECISION_HINT": "f32"}',
        'model = openvino.Core().compile_model(FILE, "CPU", exact)',
        f'outputs = model({{"{metadata.INPUT}": images}})',
        f'probabilities = outputs["{metadata.PROBABILITIES}"]',
    ),
}
# Folders that a server reads.
_SERVED = {
    "tf_serving": "TensorFlow Serving serves the versions in this folder.",
    "triton": "A Triton model repository: the server reads this folder.",
}


def list_lines(
    rows: Iterable[Mapping[str, Any]],
    folder: str = "",
    values: str = metadata.PROBABILITIES,
) -> Iterator[str]:
    """Yields the Markdown lines of files, a block for each format.

    Args:
      rows: of an export's table, without the reference.
      folder: of the files, as in "exports/".
      values: what the files give, see `targets.value_name`.
    """
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row["format"], []).append(f"{folder}{row['file']}")
    for name, written in formats.FORMATS.items():
        if name not in names:
            continue
        listed = ", ".join(f"`{file}`" for file in names[name])
        beside = "".join(f" (with its `{s}` file)" for s in written.companions)
        yield f"{listed}{beside}: {_SERVED.get(name, '')}".rstrip()
        yield ""
        if name in SNIPPETS:
            yield "```python"
            code = fill(name, names[name][0])
            yield from code.replace(metadata.PROBABILITIES, values).splitlines()
            yield "```"
            yield ""


def fill(name: str, path: str | pathlib.Path) -> str:
    """Returns the code of a format for one file."""
    literal = json.dumps(str(path))
    return "\n".join(line.replace("FILE", literal) for line in SNIPPETS[name])
