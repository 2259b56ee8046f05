"""The paper's Figure 7: where differently scaled networks look.

python benchmarks/figure7.py --dataset=imagenet2012 --images=4 \
    --runs=baseline=runs/b0,deeper=runs/d4,wider=runs/w2,sharper=runs/r2,\
compound=runs/c --output=figure7.png

python benchmarks/figure7.py --dataset=imagenet2012 \
    --models=efficientnet_lite0,efficientnet_lite1,efficientnet_lite2

A row for each of some random labelled images, of different classes, and a
column for each network: the class activation map of the image's true class. A
caption says which networks they are: of the paper's five only B0's weights are
published, and others are a stand-in.
"""

import dataclasses
import json
import textwrap
from typing import NamedTuple

import numpy as np
from absl import app, flags

from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import (
    class_names,
    classifier as classifier_lib,
    explain,
    overlays,
)
from efficientnet_tf.models import published, registry, variants
from efficientnet_tf.utils import chart_text, figures, run_folder

RUNS = flags.DEFINE_list(
    "runs", None, "Folders of finished runs, each as FOLDER or NAME=FOLDER."
)
MODELS = flags.DEFINE_list("models", None, "In place of --runs: networks.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "Of --models.")
DATASET = flags.DEFINE_string(
    "dataset", "imagenet2012", "A TFDS name, folder:PATH or records:PATH."
)
SPLIT = flags.DEFINE_string("split", "validation", "Of the data set.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Of TensorFlow Datasets.")
IMAGES = flags.DEFINE_integer("images", 4, "How many rows.", 1)
SEED = flags.DEFINE_integer("seed", 0, "Of the choice of images.")
OUTPUT = flags.DEFINE_string("output", "figure7.png", "The picture.")

LINE = 18  # Pixels of a line of the caption.
LETTER = 6.2  # Pixels of a letter there, on average.


@dataclasses.dataclass(frozen=True)
class Column:
    """A network: its name and accuracy in words, and how it is scaled.

    `variant` is None for a run that does not tell its network.
    """

    name: str
    accuracy: str
    classifier: classifier_lib.Classifier
    variant: variants.Variant | None

    @property
    def scaling(self) -> str:
        if self.variant is None:
            return "scaling unknown"
        return (
            f"d={self.variant.depth:g} w={self.variant.width:g} "
            f"{self.variant.resolution} px"
        )


class Cell(NamedTuple):
    """An image and its map, uint8 [H, W, 3], its class, and the prediction."""

    picture: np.ndarray
    overlay: np.ndarray
    label: str
    title: str


def main(_):
    if bool(RUNS.value) == bool(MODELS.value):
        raise app.UsageError("Give either --runs or --models.")
    columns = [_open_run(text) for text in RUNS.value or ()]
    columns += [_open_model(name) for name in MODELS.value or ()]
    examples = sources.load(DATASET.value, SPLIT.value, DATA_DIR.value)
    images = pick_images(examples, IMAGES.value, SEED.value)
    cells = [explain_images(column, examples, images) for column in columns]
    header = [
        ["", *(getattr(column, line) for column in columns)]
        for line in ("name", "scaling", "accuracy")
    ]
    labels = [cell.label for cell in cells[0]]
    picture = draw(cells, labels, header)
    picture = add_caption(picture, describe(columns, len(images)))
    figures.write_png(OUTPUT.value, picture)
    print(
        json.dumps(
            {
                "figure": OUTPUT.value,
                "images": len(images),
                "networks": len(columns),
                "stand_in": not is_paper(columns),
            }
        )
    )


def pick_images(examples, count, seed):
    """Returns [(upright pixels, label)] of random images, a class each."""
    labels = examples.read_labels()
    places, seen = [], set()
    for place in np.random.default_rng(seed).permutation(len(labels)):
        if labels[place] not in seen and len(places) < count:
            seen.add(labels[place])
            places.append(place)
    return [
        (np.asarray(decoding.decode(image)), int(label))
        for image, label in examples.pick(np.array(places))
    ]


def explain_images(column, examples, images):
    """Returns the `Cell` of each image by one network."""
    classifier = column.classifier
    outputs = class_names.match(
        classifier.class_names, examples.class_names
    ).outputs
    prepared = np.stack([classifier.preprocess(pixels) for pixels, _ in images])
    best = np.asarray(classifier.model.predict_on_batch(prepared)).argmax(-1)
    wanted = [
        (pixels, (outputs[label], output))
        for (pixels, label), output in zip(images, best, strict=True)
    ]
    cells = []
    compute = explain.make_maps(classifier)
    for found in explain.explain_pixels(classifier, compute, wanted):
        found = overlays.enlarge(found)
        overlay = overlays.overlay_maps(found)[0]
        cells.append(
            Cell(
                found.picture,
                overlays.mark_box(overlay, found.box),
                # ImageNet's own are numbers.
                classifier.class_names[found.classes[0]],
                make_title(found, classifier.class_names),
            )
        )
    return cells


def make_title(found, names):
    """Returns the true class's probability, and what else was predicted."""
    (true, best), (share, highest) = found.classes, found.probabilities
    text = f"{share:.0%}"
    if best != true:
        text += f", but {chart_text.show(names[best], 24)} {highest:.0%}"
    return text


def draw(cells, labels, header):
    """Draws rows of images, from the columns [network][image] of `cells`."""
    rows, titles = [], []
    for i, label in enumerate(labels):
        rows.append(
            [cells[0][i].picture, *(column[i].overlay for column in cells)]
        )
        titles.append(
            [chart_text.show(label, 34), *(column[i].title for column in cells)]
        )
    return overlays.arrange(rows, titles, header)


def add_caption(picture, text):
    """Writes a paragraph below a picture."""
    letters = int((picture.shape[1] - 20) / LETTER)
    # No line of a chart is longer.
    lines = textwrap.wrap(text, min(letters, chart_text.MOST_LETTERS))
    space = np.full(
        ((len(lines) + 1) * LINE, picture.shape[1], 3), 255, "uint8"
    )
    texts = [(10, (i + 1) * LINE, line) for i, line in enumerate(lines)]
    return np.concatenate([picture, figures.write_texts(space, texts, "left")])


def describe(columns, images):
    """Returns the caption."""
    text = (
        f"What {len(columns)} networks look at on {images} random images of "
        f"{DATASET.value}, {SPLIT.value} (seed {SEED.value}): class activation "
        "maps of the true class, each scaled to its own maximum; above them "
        "its probability, and the class predicted in its place, if any. "
        "Dashed: what the network saw of the image. "
    )
    if is_paper(columns):
        return text + "Networks: those of the paper's Figure 7, trained here."
    names = ", ".join(f"{c.name} ({c.scaling})" for c in columns)
    return text + (
        f"Networks: {names}. A stand-in for the paper's Figure 7, which has B0 "
        "and B0 scaled in depth, width, resolution and all three (Table 7), of "
        "which only B0's weights are published."
    )


def is_paper(columns):
    """Whether the networks are the five of the paper's Table 7."""
    base = registry.get_variant("efficientnet_b0")
    wanted = {
        (row.depth, row.width, row.resolution) for row in published.TABLE_7
    }
    found = {
        (c.variant.depth, c.variant.width, c.variant.resolution)
        for c in columns
        if c.variant is not None and c.variant.stages == base.stages
    }
    return found == wanted and len(columns) == len(wanted)


def _open_run(text):
    name, _, folder = text.rpartition("=")
    classifier = classifier_lib.from_run(folder)
    result = run_folder.last_result(folder) or {}
    accuracy = "top-1 unknown"
    if result.get("top1") is not None:
        accuracy = f"top-1 {100 * result['top1']:.1f}%"
    return Column(
        name or folder.rstrip("/").rpartition("/")[2],
        accuracy,
        classifier,
        _read_variant(folder, classifier.resolution),
    )


def _read_variant(folder, resolution):
    """Returns the `Variant` of a run, at the resolution that it has."""
    config = run_folder.read_config(f"{folder}/{run_folder.CONFIG_FILE}")
    model = registry.upgrade(config).get("network") or config.get("model")
    if isinstance(model, dict):
        model = registry.from_fields(model)
    if model is None:
        return None
    return registry.get_variant(model, resolution=resolution)


def _open_model(name):
    classifier = classifier_lib.from_weights(name, WEIGHTS.value)
    accuracy = "top-1 unknown"
    if WEIGHTS.value == "imagenet" and name in published.VARIANTS:
        accuracy = f"top-1 {published.VARIANTS[name].top1}% (published)"
    return Column(name, accuracy, classifier, registry.get_variant(name))


if __name__ == "__main__":
    app.run(main)
