r"""The recipes `linear`, `prototypes` and `full` with few images of each class.

python benchmarks/few_images.py --task=oxford_flowers102 --data_dir=DIR \
    --workdir=runs/few_images

Each draw takes 1, 2, 5 and 10 images a class out of the training and validation
images, the smaller ones inside the larger, and scores on the test images: both
heads on all classes, by cached features. With --full_classes, also all three on
so many classes, for `full` takes minutes a run: scored on at most 15 more of
each class's images. Rows go to few_images.jsonl in the workdir; what it has is
not computed again. Differences are paired over images of the same draws, and
their interval is a bootstrap over the images of each class and draw.
"""

import dataclasses
import pathlib
import sys
import time

# Else this file's folder would come first, and hide the packages.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.utils import files, intervals, tables
from transfer.config import recipes, tasks
from transfer.training import (
    fitting,
    frozen_features,
    linear_head,
    prototypes,
    scoring,
)

TASK = flags.DEFINE_string("task", None, "E.g. cifar100.")
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", "The network.")
DRAWS = flags.DEFINE_integer("draws", 5, "How many draws.", 1)
FULL_CLASSES = flags.DEFINE_integer("full_classes", 0, "Of `full`; 0: none.", 0)
FULL_DRAWS = flags.DEFINE_integer("full_draws", 2, "Of `full`.", 1)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for the rows.")
flags.mark_flags_as_required(["task", "workdir"])

SHOTS = (1, 2, 5, 10)
SCORED = 15  # Images a class beside those of a draw, with `full`.
ROWS_FILE = "few_images.jsonl"
Features = frozen_features.Features


@dataclasses.dataclass(frozen=True)
class Part:
    """What is compared: features to draw from and to score on, all of them.

    `places` are those of the classes' images among the whole set, in the order
    of the draw; `scored` those to score on.
    """

    classes: np.ndarray
    places: np.ndarray  # [classes, images a class].
    scored: np.ndarray


def main(_: list[str]) -> None:
    task = tasks.get_task(TASK.value)
    loaded = tasks.load_examples(task, DATA_DIR.value)
    setup = fitting.Setup(
        task,
        MODEL.value,
        {"weights": "imagenet", "source_family": None, "normalization": None},
        recipes.get_recipe("linear", task=TASK.value),
        loaded,
        pathlib.Path(WORKDIR.value),
    )
    known = extract(setup)
    sizes = [loaded[name].size for name in tasks.SPLITS]
    for seed in range(DRAWS.value):
        compare(known, draw(known.labels, sizes, seed), seed)
    images = None
    for seed in range(FULL_DRAWS.value if FULL_CLASSES.value else 0):
        if images is None:
            images = read_images(loaded)
        part = draw(known.labels, None, seed, FULL_CLASSES.value)
        compare(known, part, seed)
        train_full(setup, images, part, seed)
    print(make_table(read_rows()))


def extract(setup):
    """Returns the features of all splits, one after the other."""
    classifier = fitting.build(setup)
    key = fitting.cache_key(setup)
    return frozen_features.concatenate(
        frozen_features.extract_split(
            classifier, setup.examples[name], setup.config.precision, key, name
        )
        for name in tasks.SPLITS
    )


def draw(labels, sizes, seed, classes=0):
    """Returns a `Part`: of all classes and the test split, or of some."""
    rng = np.random.default_rng(seed)
    names = np.unique(labels)
    if classes:
        names = np.sort(rng.choice(names, classes, replace=False))
    end = len(labels) if sizes is None else sum(sizes[:2])
    own = [rng.permutation(np.flatnonzero(labels[:end] == c)) for c in names]
    places = np.stack([each[: max(SHOTS)] for each in own])
    if sizes is None:
        rest = [each[max(SHOTS) : max(SHOTS) + SCORED] for each in own]
        return Part(names, places, np.concatenate(rest))
    return Part(names, places, np.arange(end, len(labels)))


def compare(known, part, seed):
    """Scores both heads on a draw."""
    for shots in SHOTS:
        rows = part.places[:, :shots].ravel()
        fitted, scored = (
            relabel(known.select(places), part.classes)
            for places in (rows, part.scored)
        )
        for recipe, fit in (
            ("linear", fit_linear),
            ("prototypes", prototypes.fit_head),
        ):
            if is_known(recipe, shots, seed, part):
                continue
            begin = time.perf_counter()
            kernel, bias = fit(fitted, len(part.classes))
            found = (scored.features @ kernel + bias).argmax(axis=1)
            keep(recipe, shots, seed, part, found, scored.labels, begin)


def fit_linear(fitted, classes):
    """Fits as the recipe does without prototypes: C by cross-validation."""
    strength = recipes.FinetuneConfig().l2_sweep[0]
    if len(fitted.labels) > classes:
        none = fitted.select(np.zeros(0, int))
        strength = linear_head.choose_strength(
            fitted, none, recipes.FinetuneConfig().l2_sweep
        ).C
    return linear_head.fit_classifier(fitted, classes, strength)


def relabel(features, classes):
    return features._replace(labels=np.searchsorted(classes, features.labels))


def read_images(loaded):
    """Returns the encoded images of all splits, one after the other."""
    return [
        image
        for name in tasks.SPLITS
        for image, _ in loaded[name].dataset.as_numpy_iterator()
    ]


def train_full(setup, images, part, seed):
    """Scores `full` on a draw."""
    config = recipes.get_recipe("full", [f"seed={seed}"], TASK.value)
    for shots in SHOTS:
        if is_known("full", shots, seed, part):
            continue
        begin = time.perf_counter()
        labels = np.repeat(np.arange(len(part.classes)), shots)
        rows = part.places[:, :shots].ravel()
        train = pack(images, rows, labels, part)
        # Both are trained on.
        first, last = train.hold_out(1)
        folder = setup.workdir / f"{TASK.value}-{shots}-{seed}"
        files.remove(folder)
        run = dataclasses.replace(
            setup,
            config=config,
            examples={"train": first, "validation": last},
            workdir=folder,
        )
        keras.utils.set_random_seed(seed)
        classifier = fitting.build(run)
        fitting.train(run, classifier)
        count = len(part.scored) // len(part.classes)
        truth = np.repeat(np.arange(len(part.classes)), count)
        tested = pack(images, part.scored, truth, part)
        found = scoring.score(classifier, tested).predicted
        keep("full", shots, seed, part, found, truth, begin)
        files.remove(folder)


def pack(images, places, labels, part):
    columns = (
        tf.constant([images[i] for i in places]),
        tf.constant(labels, "int64"),
    )
    source = examples_lib.Indexed(columns, lambda image, label: (image, label))
    names = tuple(map(str, part.classes))
    return examples_lib.Examples(source, names, f"{places.tolist()}")


def keep(recipe, shots, seed, part, found, truth, begin):
    """Writes a row: which images of each class are right."""
    row = {
        **describe(recipe, shots, seed, part),
        "accuracy": float((found == truth).mean()),
        "hits": (found == truth).astype(int).tolist(),
        "truth": truth.tolist(),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print({k: v for k, v in row.items() if k not in ("hits", "truth")})
    path = pathlib.Path(WORKDIR.value, ROWS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.append_json_line(path, row)


def describe(recipe, shots, seed, part):
    return {
        "task": TASK.value,
        "model": MODEL.value,
        "recipe": recipe,
        "shots": shots,
        "seed": seed,
        "classes": len(part.classes),
    }


def is_known(recipe, shots, seed, part):
    wanted = describe(recipe, shots, seed, part)
    return any(
        all(row[name] == value for name, value in wanted.items())
        for row in read_rows()
    )


def read_rows():
    path = pathlib.Path(WORKDIR.value, ROWS_FILE)
    if not path.exists():
        return []
    rows = files.read_json_lines(path)
    return [{**row, "hits": Hits(row["hits"], row["truth"])} for row in rows]


def make_table(rows):
    """Returns mean accuracy, and the others' gain over `linear`."""
    keys = sorted({(r["task"], r["classes"], r["shots"]) for r in rows})
    lines = []
    for task, classes, shots in keys:
        own: dict[str, dict[int, dict]] = {}
        for row in rows:
            if (row["task"], row["classes"], row["shots"]) == (
                task,
                classes,
                shots,
            ):
                own.setdefault(row["recipe"], {})[row["seed"]] = row
        cells = [f"{task}, {classes} classes", str(shots)]
        for recipe in ("linear", "prototypes", "full"):
            cells.append(show(own.get(recipe, {}), own["linear"]))
        lines.append(cells)
    header = ("set", "images a class", "linear", "prototypes", "full")
    return tables.to_markdown(header, lines)


def show(found, linear):
    """Returns a mean over draws, with its paired gain over `linear`."""
    if not found:
        return "–"
    mean = np.mean([row["accuracy"] for row in found.values()])
    text = f"{100 * mean:.1f}"
    if found is linear:
        return f"{text} ({len(found)} draws)"
    pairs = [(linear[seed]["hits"], found[seed]["hits"]) for seed in found]
    before, after = (
        np.concatenate([h.hits for h in x]) for x in zip(*pairs, strict=True)
    )
    # Classes of different draws are different ones.
    truth = np.concatenate(
        [h.truth + 10_000 * i for i, (h, _) in enumerate(pairs)]
    )
    _, truth = np.unique(truth, return_inverse=True)
    low, high = intervals.bootstrap_difference(
        np.bincount(truth, before & ~after),
        np.bincount(truth, after & ~before),
        np.bincount(truth),
    )
    gain = 100 * (after.mean() - before.mean())
    count = "" if len(found) == len(linear) else f"; {len(found)} draws"
    return f"{text} ({gain:+.1f}: {100 * low:+.1f} to {100 * high:+.1f}{count})"


@dataclasses.dataclass(frozen=True)
class Hits:
    """Which images are right, and their classes, both [N]."""

    hits: np.ndarray
    truth: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "hits", np.array(self.hits, bool))
        object.__setattr__(self, "truth", np.array(self.truth))


if __name__ == "__main__":
    app.run(main)
