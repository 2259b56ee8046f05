"""The folders that TensorFlow Serving and Triton look for models in."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Sequence

from efficientnet_tf.utils import files, run_folder, tables, untrusted

TRITON_CONFIG = "config.pbtxt"
TRITON_MODEL = "model.onnx"
LABELS_FILE = "labels.txt"
# What a version's folder holds.
_FILES = {
    "write_tf_serving": run_folder.SAVED_MODEL_FILE,
    "write_triton": TRITON_MODEL,
}
# TensorFlow's place for what others put beside a SavedModel.
EXTRAS = "assets.extra"

# Of Triton's dynamic batching; ours.
MAX_BATCH = 32
MAX_DELAY_MICROSECONDS = 5000


def write_tf_serving(
    exported: str | os.PathLike,
    base: str | os.PathLike,
    class_names: Sequence[str],
) -> pathlib.Path:
    """Copies a SavedModel to BASE/N, the next version of a served model.

    A server that watches BASE sees it whole or not at all. Outputs that have no
    value for each image leave its signatures: TensorFlow Serving refuses
    requests by row ("instances") where there is one. So the class names stand
    in assets.extra/labels.txt; TensorFlow's own loader still returns them.

    Args:
      exported: a folder of `saved_model.export_saved_model`.
      base: the folder of the model's versions, BASE/1 and so on; its name is
        what clients ask for.
      class_names: of the classes.

    Returns:
      BASE/N.

    Raises:
      OSError: there is no such SavedModel, or no room.
      untrusted.DamagedError: it is damaged.
      FileExistsError: BASE holds something other than such versions.
    """
    exported, base = pathlib.Path(exported), pathlib.Path(base)
    untrusted.check_file(exported / run_folder.SAVED_MODEL_FILE)
    check_base(base, "write_tf_serving")

    def fill(folder):
        shutil.copytree(exported, folder)
        _keep_outputs_by_image(folder / run_folder.SAVED_MODEL_FILE)
        (folder / EXTRAS).mkdir(exist_ok=True)
        write_labels(folder / EXTRAS / LABELS_FILE, class_names)

    return _add_version(base, fill)


def check_base(base: pathlib.Path, layout: str) -> None:
    """Checks that a folder is for a layout's versions, and nothing else.

    Args:
      base: the folder; it need not exist.
      layout: the name of a function here.

    Raises:
      FileExistsError: it holds something else.
    """
    if (base / run_folder.SAVED_MODEL_FILE).exists():
        raise FileExistsError(
            f"{base} is a SavedModel; choose a folder for its versions."
        )
    found = sorted(base.iterdir()) if base.exists() else []
    found = [path for path in found if not path.name.startswith(".")]
    versions = [path for path in found if path.name.isdecimal()]
    others = [p for p in versions if not (p / _FILES[layout]).exists()]
    triton = base / TRITON_CONFIG
    if triton.exists() != (layout == "write_triton"):
        others += [path for path in found if path not in versions]
    if found and (others or not versions):
        raise FileExistsError(
            f"{base} holds {(others or found)[0].name}, which is no version of "
            "such a model; choose another folder."
        )


def write_triton(
    exported: str | os.PathLike,
    base: str | os.PathLike,
    class_names: Sequence[str],
    *,
    max_batch: int = MAX_BATCH,
) -> pathlib.Path:
    """Copies an ONNX file into a Triton model repository as BASE/N.

    BASE/config.pbtxt says what it takes and gives, and that requests are
    batched if its batch is dynamic; BASE/labels.txt names the classes. Both
    hold for all versions, so that they are never changed.

    Args:
      exported: an ONNX file with its weights inside.
      base: the model's folder in the repository; its name is what clients ask
        for.
      class_names: of the classes.
      max_batch: images that Triton computes on at once.

    Returns:
      BASE/N/model.onnx.

    Raises:
      FileExistsError: BASE has other settings or classes, or holds something
        other than such versions.
      OSError: there is no such file, or no room.
      untrusted.DamagedError: the file is damaged.
      ValueError: its weights are in other files, or `max_batch` is below 1.
    """
    if max_batch < 1:
        raise ValueError(f"max_batch={max_batch} must be at least 1.")
    exported = pathlib.Path(exported)
    base = pathlib.Path(base)
    check_base(base, "write_triton")
    name = base.absolute().name
    config = make_triton_config(exported, name, max_batch, len(class_names))

    def fill(folder):
        folder.mkdir()
        shutil.copyfile(exported, folder / TRITON_MODEL)

    if base.exists() and any(base.iterdir()):
        _check_same(base / TRITON_CONFIG, config)
        _check_same(base / LABELS_FILE, _to_lines(class_names))
        return _add_version(base, fill) / TRITON_MODEL
    with files.atomic(base) as folder:
        folder.mkdir()
        fill(folder / "1")
        write_labels(folder / LABELS_FILE, class_names)
        files.write_text(folder / TRITON_CONFIG, config)
    return base / "1" / TRITON_MODEL


def make_triton_config(
    exported: str | os.PathLike, name: str, max_batch: int, classes: int
) -> str:
    """Returns the text of Triton's config.pbtxt for an ONNX file.

    Args:
      exported: the file.
      name: the model's.
      max_batch: if the file's batch is dynamic; one of a fixed batch is served
        as it is.
      classes: the output of so many values gets the labels.
    """
    inputs, outputs = _read_tensors(exported)
    dynamic = all(shape[0] == -1 for _, _, shape in (*inputs, *outputs))
    lines = [
        f"name: {_quote(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {max_batch if dynamic else 0}",
    ]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor, dtype, shape in tensors:
            dims = shape[1:] if dynamic else shape
            lines += [
                f"{kind} {{",
                f"  name: {_quote(tensor)}",
                f"  data_type: {dtype}",
                f"  dims: [{', '.join(map(str, dims))}]",
            ]
            if kind == "output" and shape[1:] == [classes]:
                lines.append(f"  label_filename: {_quote(LABELS_FILE)}")
            lines.append("}")
    if dynamic:
        lines += [
            "dynamic_batching {",
            f"  max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS}",
            "}",
        ]
    return "\n".join([*lines, ""])


def _read_tensors(path):
    """Returns [(name, Triton's data type, shape)] of inputs and of outputs."""
    import onnx

    untrusted.check_file(path)
    with untrusted.reading(path, "not a readable ONNX file"):
        model = onnx.load(os.fspath(path), load_external_data=False)
    graph = model.graph
    external = onnx.TensorProto.DataLocation.EXTERNAL
    if any(each.data_location == external for each in graph.initializer):
        raise ValueError(
            f"{os.fspath(path)} has its weights in other files; Triton's "
            "folder takes one file."
        )
    weights = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in weights]
    if not inputs or not graph.output:
        raise untrusted.DamagedError(
            f"{os.fspath(path)} has {len(inputs)} inputs and "
            f"{len(graph.output)} outputs."
        )
    return (
        [_describe(path, each) for each in inputs],
        [_describe(path, each) for each in graph.output],
    )


def _describe(path, value):
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if dtype not in _TRITON_TYPES or not tensor.shape.dim:
        raise untrusted.DamagedError(
            f"{os.fspath(path)}: {value.name} is {dtype} without a shape, or "
            "of a type that Triton does not know."
        )
    shape = [each.dim_value or -1 for each in tensor.shape.dim]
    return value.name, _TRITON_TYPES[dtype], shape


# ONNX's name of a type -> Triton's.
_TRITON_TYPES = {
    "FLOAT": "TYPE_FP32",
    "FLOAT16": "TYPE_FP16",
    "BFLOAT16": "TYPE_BF16",
    "UINT8": "TYPE_UINT8",
    "INT8": "TYPE_INT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "STRING": "TYPE_STRING",
}


def _quote(text):
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text, as_utf8=False)}"'


def _keep_outputs_by_image(path):
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    with untrusted.reading(path, "not a readable SavedModel"):
        model.ParseFromString(path.read_bytes())
    for graph in model.meta_graphs:
        for signature in graph.signature_def.values():
            fixed = [
                name
                for name, tensor in signature.outputs.items()
                if tensor.tensor_shape.dim
                and tensor.tensor_shape.dim[0].size != -1
            ]
            for name in fixed:
                del signature.outputs[name]
    path.write_bytes(model.SerializeToString(deterministic=True))


def _add_version(base, fill):
    """Returns a new folder BASE/N that `fill` has written."""
    new = not base.exists()
    try:
        with files.atomic(
            base / f"{files.PREFIX}version-{os.getpid()}"
        ) as folder:
            fill(folder)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                base.rmdir()
        raise
    written = base / f"{files.PREFIX}version-{os.getpid()}"
    try:
        while True:
            numbers = [
                int(each.name)
                for each in base.iterdir()
                if each.name.isdecimal()
            ]
            path = base / str(max(numbers, default=0) + 1)
            try:
                os.rename(written, path)
            except OSError as error:
                # Somebody else has just written this version.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return path
    finally:
        files.remove(written)


def _check_same(path, text):
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        raise FileExistsError(
            f"{path} is not that of this model's settings and classes; choose "
            "another name or folder."
        )


def write_labels(path: pathlib.Path, class_names: Sequence[str]) -> None:
    """Writes class names, a line each."""
    files.write_text(path, _to_lines(class_names))


def _to_lines(class_names):
    # A line each, whatever a name holds.
    return "".join(f"{tables.to_line(name)}\n" for name in class_names)
