"""The page's folder: the network, its classes, our page and LiteRT.js."""

import base64
import dataclasses
import hashlib
import html
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data.images import decoding
from efficientnet_tf.deploy import converters, export, litert, source
from efficientnet_tf.deploy.demo import packages
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import quantization
from efficientnet_tf.utils import figures, files

WEB = pathlib.Path(__file__).parent / "web"
PAGE = "index.html"
MODEL_FILE = "model.tflite"
CLASSIFIER_FILE = "classifier.json"
LICENCE = "LICENSE-2.0.txt"
LITERT_FOLDER, EXAMPLES_FOLDER = "litert", "examples"
MOST_EXAMPLES = 12
# Of the longer side of an example.
EXAMPLE_PIXELS = 640
_OWN = ("style.css", "page.js", "network.js", "prepare.js", "heat.js")

# What the page may load: its own files. `connect-src` keeps it from sending
# anything elsewhere; WebAssembly is code that is compiled from bytes.
_POLICY = (
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval' '{hash}'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
)


@dataclasses.dataclass(frozen=True)
class Site:
    """What `write` has written: whether with a map, and how many examples."""

    activation_map: bool
    examples: int


def write(
    classifier: classifier_lib.Classifier,
    folder: str | os.PathLike,
    *,
    title: str,
    footer: str = "",
    examples: Iterable[str | os.PathLike] = (),
) -> Site:
    """Writes a folder of static files: a page that runs the classifier.

    All of it is written, or nothing.

    Args:
      classifier: of a functional Keras network.
      folder: where to; an earlier page there is replaced.
      title: the page's.
      footer: a sentence at its end.
      examples: image files to try; the first 12 are taken, without what they
        say of camera and place.

    Raises:
      OSError: the folder holds something else, an example cannot be read, or a
        package of LiteRT.js not be had.
      RuntimeError: the exported network is another function than Keras's.
    """
    folder = pathlib.Path(folder)
    check_replaceable(folder)
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        packaged = temporary / LITERT_FOLDER
        packaged.mkdir()
        packages.install(packaged)  # First, since it fails most often.
        shutil.copyfile(WEB / LICENCE, packaged / LICENCE)
        shown = _write_examples(classifier, examples, temporary)
        has_map = _write_network(classifier, temporary / MODEL_FILE)
        settings = dataclasses.asdict(classifier.settings)
        files.write_json(
            temporary / CLASSIFIER_FILE, {**settings, "examples": shown}
        )
        for name in _OWN:
            shutil.copyfile(WEB / name, temporary / name)
        files.write_text(temporary / PAGE, render(title, footer))
    return Site(has_map, len(shown))


def check_replaceable(folder: pathlib.Path) -> None:
    """Raises OSError unless a folder can be made or holds such a page."""
    files.check_folder(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    own = (PAGE, MODEL_FILE, CLASSIFIER_FILE)
    if not all((folder / name).is_file() for name in own):
        raise FileExistsError(
            f"{folder} holds something other than such a page; choose another "
            "folder."
        )


def render(title: str, footer: str = "") -> str:
    """Returns the page's HTML."""
    imports = json.dumps({"imports": packages.list_imports(LITERT_FOLDER)})
    # An import map stands in the page itself; the policy lets in this one.
    digest = hashlib.sha256(imports.encode()).digest()
    policy = "; ".join(_POLICY).format(
        hash=f"sha256-{base64.b64encode(digest).decode()}"
    )
    page = (WEB / PAGE).read_text(encoding="utf-8")
    for name, text in (
        ("policy", policy),
        ("imports", imports),
        ("footer", html.escape(footer)),
        ("title", html.escape(title)),  # Last: a title may be "{footer}".
    ):
        page = page.replace(f"{{{name}}}", text)
    return page


def _write_network(classifier, path):
    """Returns whether the network could be given its map."""
    try:
        made = source.prepare(classifier, activation_map=True)
    except ValueError as error:
        logging.warning("The page shows no activation map: %s", error)
        made = source.prepare(classifier)
    made = dataclasses.replace(made, batch_size=1)
    # LiteRT has no other of a network with fake quantization.
    is_quantized = quantization.is_quantized(classifier.model)
    precision = "int8" if is_quantized else "float32"
    with converters.silent():
        litert.write(classifier, made, path, precision)
        found = litert.load(path)
        export.check_equal(classifier, {MODEL_FILE: (found, precision)})
    return len(made.network.outputs) > 1


def _write_examples(
    classifier: classifier_lib.Classifier,
    paths: Iterable[str | os.PathLike],
    folder: pathlib.Path,
) -> Sequence[str]:
    """Returns the examples' paths in the folder."""
    paths = list(paths)
    if len(paths) > MOST_EXAMPLES:
        logging.warning(
            "Of %d examples, the first %d are taken.", len(paths), MOST_EXAMPLES
        )
    shown = []
    for number, path in enumerate(paths[:MOST_EXAMPLES], start=1):
        pixels = decoding.read_image(path, classifier.deep_pixels)
        name = f"{EXAMPLES_FOLDER}/{number}.png"
        # As pixels: a photo's file says where it was taken.
        figures.write_png(folder / name, _shrink(pixels))
        shown.append(name)
    return shown


def _shrink(pixels):
    """Returns uint8 [H, W, 3] no larger than an example may be."""
    height, width = pixels.shape[:2]
    scale = EXAMPLE_PIXELS / max(height, width)
    if scale >= 1:
        return np.asarray(pixels)
    size = [max(1, round(side * scale)) for side in (height, width)]
    small = tf.image.resize(pixels, size, "area")
    return np.rint(small).astype("uint8")
