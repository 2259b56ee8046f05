"""The files that a classifier can become, and which of them a path is."""

import dataclasses
import importlib
import os
import pathlib
from types import ModuleType

from efficientnet_tf.utils import extras, run_folder, untrusted, words

# Exported files are so many folders below their run, if they lie in it.
_EXPORT_LEVELS = 3
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class Format:
    """One row.

    Attributes:
      name: of the format.
      module: in this room, with `write` and `load`.
      suffix: of its file; "" for a folder.
      precisions: those that it has.
      quantized: those that it has of a network with fake quantization.
      runtime: packages that run it, as in `import`.
      writers: further packages that write it.
      batch_size: that its files take by default; None: any.
      companions: suffixes of the files that go with the one.
      has_map: whether its files can have the activation map as an output.
      layout: the function of `layouts` that copies what was written into a
        folder of versions; "" for none.
    """

    name: str
    module: str
    suffix: str
    precisions: tuple[str, ...] = ("float32",)
    quantized: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    batch_size: int | None = None
    companions: tuple[str, ...] = ()
    has_map: bool = False
    layout: str = ""

    @property
    def names_folder(self) -> bool:
        """Whether a user names a folder, not a file."""
        return bool(self.layout) or not self.suffix

    def load_module(self, *packages: str) -> ModuleType:
        """Returns the format's module, if packages are installed.

        Raises:
          ModuleNotFoundError: names those that are not, and the `pip install`.
        """
        extras.require(f"Files of the format {self.name}", *packages)
        return importlib.import_module(f"{__package__}.{self.module}")


_SAVED_MODEL = Format("saved_model", "saved_model", "", quantized=("float32",))
_ONNX = Format(
    "onnx",
    "onnx",
    ".onnx",
    ("float32", "float16", "int8"),
    runtime=("onnxruntime",),
    writers=("onnx", "tf2onnx"),
    has_map=True,
)

FORMATS = {
    row.name: row
    for row in (
        _SAVED_MODEL,
        Format("keras", "keras_file", ".keras"),
        Format(
            "litert",
            "litert",
            ".tflite",
            ("float32", "float16", "int8"),
            quantized=("int8",),
            runtime=("ai_edge_litert",),
            # Phones and browsers look at one image at a time.
            batch_size=1,
            has_map=True,
        ),
        _ONNX,
        Format(
            "openvino",
            "openvino",
            ".xml",
            ("float32", "float16", "bfloat16", "int8"),
            runtime=("openvino",),
            writers=("nncf",),
            companions=(".bin",),
            has_map=True,
        ),
        dataclasses.replace(
            _SAVED_MODEL, name="tf_serving", layout="write_tf_serving"
        ),
        dataclasses.replace(_ONNX, name="triton", layout="write_triton"),
    )
}
SUFFIXES = {row.suffix: row for row in FORMATS.values() if not row.names_folder}


def find(path: str | os.PathLike) -> pathlib.Path:
    """Returns the run, SavedModel or file that a path names.

    Args:
      path: one of these, or a folder with one such file or with versions.

    Raises:
      OSError: there is none, or several.
      ValueError: a file of no known kind.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if not path.is_dir():
        untrusted.check_file(path)
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f"{path} ends in none of {', '.join(SUFFIXES)}; a run and a "
                "SavedModel are named by their folders."
            )
        return path
    if is_run(path) or is_saved_model(path):
        return path
    versions = [each for each in path.iterdir() if each.name.isdecimal()]
    if versions:  # Of a served model.
        return find(max(versions, key=lambda version: int(version.name)))
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    names = untrusted.shorten(", ".join(file.name for file in found))
    raise FileNotFoundError(
        f"{path} holds {words.count(len(found), 'exported file')}; name one of "
        f"{names}."
        if found
        else f"{path} holds no finished run, no SavedModel and no exported "
        "file."
    )


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder is a run with a network."""
    needed = (run_folder.MODEL_FILE, run_folder.SETTINGS_FILE)
    return all((folder / name).exists() for name in needed)


def find_run(path: pathlib.Path) -> pathlib.Path | None:
    """Returns a run, or the run in whose folder a file lies; None: in none."""
    path = path.absolute()
    folders = (path, *path.parents[:_EXPORT_LEVELS])
    return next(filter(is_run, folders), None)


def is_saved_model(folder: pathlib.Path) -> bool:
    """Whether a folder is a SavedModel."""
    return (folder / run_folder.SAVED_MODEL_FILE).exists()
