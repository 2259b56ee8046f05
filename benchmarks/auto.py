"""The recipe `auto` beside those that it chooses from, on small tasks.

python benchmarks/auto.py --data_dir=DIR --workdir=runs/auto

Each run is a process of its own. A finished run is not repeated, so the same
command resumes after an interrupt. Each row goes to auto.jsonl in the workdir;
the table at the end is drawn from that file. "Below" means: by more than 1.96
standard errors of the difference of two accuracies on that many test images, as
if each had images of its own; with the same images chance is less than that.
"""

import collections
import dataclasses
import math
import os
import pathlib
import statistics
import subprocess
import sys

# Else this file's folder would come first, and hide the packages.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from absl import app, flags

from efficientnet_tf.utils import data_names, files, run_folder, tables

# A task's name: the set of `config.tasks`, and how many of its classes.
TASKS = {
    "flowers5": ("oxford_flowers102", 5),
    "flowers20": ("oxford_flowers102", 20),
    "flowers102": ("oxford_flowers102", 102),
    "cars20": ("cars196", 20),
    "cifar10of100": ("cifar100", 10),
    "digits": ("digits", None),
}
RECIPES = ("auto", "linear", "full", "fast")

NAMES = flags.DEFINE_list("tasks", list(TASKS), f"Some of {', '.join(TASKS)}.")
WITH = flags.DEFINE_list("recipes", list(RECIPES), "Rows of recipes.py.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each; linear has one.", 1)
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", "The network.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder for images and runs.")

ROWS_FILE = "auto.jsonl"
STANDARD_ERRORS = 1.96


@dataclasses.dataclass(frozen=True)
class Run:
    """One fine-tuning."""

    name: str
    recipe: str
    seed: int

    @property
    def folder(self):
        return pathlib.Path(
            WORKDIR.value, "runs", f"{self.name}-{self.recipe}-{self.seed}"
        )


def main(_):
    unknown = sorted(set(NAMES.value) - set(TASKS))
    if unknown or not WORKDIR.value:
        raise app.UsageError(f"Unknown tasks {unknown}, or no --workdir.")
    for run in list_runs(NAMES.value, WITH.value, SEEDS.value):
        if run_folder.last_result(run.folder) is None:
            train(run)
    rows = list(read_rows())
    files.write_json_lines(pathlib.Path(WORKDIR.value, ROWS_FILE), rows)
    print(make_table(rows))


def list_runs(names, recipes, seeds):
    """Returns all runs; in `linear` nothing is random."""
    return [
        Run(name, recipe, seed)
        for name in names
        for recipe in recipes
        for seed in range(1 if recipe == "linear" else seeds)
    ]


def train(run):
    """Runs a process that fine-tunes, with no features cached before."""
    cache = pathlib.Path(WORKDIR.value, "cache").absolute()
    files.remove(cache / "features")
    print(f"{run.name}, {run.recipe}, seed {run.seed}", flush=True)
    root = pathlib.Path(__file__).resolve().parent.parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "efficientnet_tf",
            "finetune",
            f"--task={prepare(run.name)}",
            f"--model={MODEL.value}",
            f"--recipe={run.recipe}",
            f"--set=seed={run.seed}",
            f"--workdir={run.folder.absolute()}",
        ],
        check=True,
        cwd=root,
        env={**os.environ, "EFFICIENTNET_TF_CACHE": str(cache)},
    )


def prepare(name):
    """Returns a task for `finetune`, for which it writes class folders."""
    dataset, classes = TASKS[name]
    if classes is None:
        return dataset
    folder = pathlib.Path(WORKDIR.value, "images", name).absolute()
    if not folder.exists():
        from transfer.config import tasks

        task = tasks.get_task(dataset)
        with files.atomic(folder) as temporary:
            write_folders(
                tasks.load_examples(task, DATA_DIR.value), classes, temporary
            )
    return f"{data_names.FOLDER.prefix}{folder}"


def write_folders(examples, classes, folder):
    """Writes the images of the first classes as SPLIT/CLASS/NUMBER files."""
    import tensorflow as tf

    for split, part in examples.items():
        for number, (image, label) in enumerate(part.dataset):
            if int(label) >= classes:
                continue
            if image.dtype != tf.string:
                image = tf.io.encode_png(image)
            kind = "jpg" if tf.image.is_jpeg(image) else "png"
            path = folder / split / f"{int(label):03}" / f"{number}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.numpy())


def read_rows():
    """Yields the rows of all finished runs, each with its task's short name."""
    for run in list_runs(TASKS, RECIPES, SEEDS.value):
        row = run_folder.last_result(run.folder)
        if row is not None:
            yield {"name": run.name, **row}


def make_table(rows):
    """Returns the Markdown table: a line per task."""
    cells = collections.defaultdict(list)
    for row in rows:
        cells[row["name"], row["recipe"]].append(row)
    lines = []
    for name in TASKS:
        of_task = {r: cells[name, r] for r in RECIPES if cells[name, r]}
        if not of_task:
            continue
        first = next(iter(of_task.values()))[0]
        lines.append(
            (
                name,
                f"{first['train_images']:,} / {first['test_images']:,}",
                *(_to_text(of_task.get(recipe)) for recipe in RECIPES),
                _kept_text(of_task.get("auto", [])),
                *compare(of_task, first["test_images"]),
            )
        )
    header = ("task", "train / test images", *RECIPES, "auto kept")
    header += ("auto below the best", "auto below linear")
    return tables.to_markdown(header, lines)


def compare(rows, images):
    """Returns whether `auto` is below the best of the others, and `linear`.

    Args:
      rows: {recipe: its rows}.
      images: on how many they were tested.
    """
    means = {
        recipe: statistics.fmean(row["top1"] for row in found)
        for recipe, found in rows.items()
    }
    own = means.pop("auto", None)
    if own is None or not means:
        return "?", "?"
    best = max(means.values())
    linear = means.get("linear")
    return (
        _difference_text(own, best, images),
        "?" if linear is None else _difference_text(own, linear, images),
    )


def _difference_text(own, other, images):
    """Returns whether `own` is lower by more than chance, and by how much."""
    variance = own * (1 - own) + other * (1 - other)
    limit = STANDARD_ERRORS * math.sqrt(variance / images)
    answer = "yes" if other - own > limit else "no"
    return f"{answer} ({own - other:+.3f}, chance ±{limit:.3f})"


def _to_text(rows):
    if not rows:
        return "–"
    scores = [row["top1"] for row in rows]
    minutes = statistics.fmean(row["seconds"] for row in rows) / 60
    text = f"{statistics.fmean(scores):.3f}"
    if len(scores) > 1:
        text += f" ({', '.join(f'{score:.3f}' for score in scores)})"
    return f"{text}, {minutes:.1f} min"


def _kept_text(rows):
    kept = collections.Counter(row.get("kept", "?") for row in rows)
    return ", ".join(f"{what} {count}" for what, count in kept.items())


if __name__ == "__main__":
    app.run(main)
