"""Time and memory as the work grows: images, classes, runs.

python benchmarks/scale.py --output=/tmp/scale

Each row runs in a process of its own, and is kept at once: the same command
resumes. The slope is that of the last step on a double logarithmic scale: 1 is
linear, 2 quadratic. Made-up files and scores; one core does the work.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

# For `transfer`: here, a program has this name.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from efficientnet_tf.utils import figures, files, tables  # noqa: E402

OUTPUT = flags.DEFINE_string("output", None, "A folder for table and plot.")
MOST = flags.DEFINE_integer("most", 10**6, "Leave larger counts out.", 1)
PART = flags.DEFINE_string("part", None, "One of the parts, in this process.")
COUNT = flags.DEFINE_integer("count", None, "With --part: how much.")

IMAGES = (10**3, 10**4, 10**5, 10**6)
CLASSES = (10, 10**3, 2 * 10**4)
FOLDERS = 100
PER_CLASS = 2  # Images, where classes grow.
BATCH = 100
LONGEST = 1200  # Seconds of a row, with making what it works on.


def list_folder(count, folder):
    """Lists empty image files in class folders."""
    for number in range(FOLDERS):
        (folder / f"class{number}").mkdir()
    for number in range(count):
        name = f"class{number % FOLDERS}/{number}.jpg"
        (folder / name).touch()
    from efficientnet_tf.data.folders import class_folders

    return lambda: class_folders.read(folder)


def list_links(count, folder):
    """Lists links to image files that lie in one folder."""
    (folder / "pool").mkdir()
    for number in range(FOLDERS):
        (folder / f"root/class{number}").mkdir(parents=True)
    for number in range(count):
        file = folder / f"pool/{number}.jpg"
        file.touch()
        (folder / f"root/class{number % FOLDERS}/{number}.jpg").symlink_to(file)
    from efficientnet_tf.data.folders import class_folders

    return lambda: class_folders.read(folder / "root")


def split_names(count, folder):
    """Hashes names to cut validation and test images."""
    from efficientnet_tf.data.folders import folder_walk, layouts
    from efficientnet_tf.data.sets import folder_splits
    from efficientnet_tf.utils import folder_options

    classes = {
        f"class{number}": [
            folder / f"class{number}/{i}.jpg" for i in range(count // FOLDERS)
        ]
        for number in range(FOLDERS)
    }
    parents = {
        file: file.parent for files in classes.values() for file in files
    }
    layout = layouts.Layout(
        "made up",
        folder,
        {None: classes},
        {None: ""},
        folder_walk.LeftOut(folder),
    )

    def cut():
        group_of, _, _ = folder_splits.make_group_of(
            folder_options.DEFAULT, folder, parents, {}
        )
        folder_splits.cut(
            classes, ("validation", "test"), source=layout, group_of=group_of
        )

    return cut


def examine_images(count, folder):
    """Decodes small images in search of damaged ones."""
    from PIL import Image

    from efficientnet_tf.data.sets import damaged_files

    Image.new("RGB", (16, 16)).save(folder / "0.png")
    data = (folder / "0.png").read_bytes()
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        path.write_bytes(data)
    return lambda: damaged_files.examine(folder, paths)


def _make_batches(images, classes):
    """Yields labels [N] and probabilities [N, classes], half of them right."""
    random = np.random.default_rng(0)
    for begin in range(0, images, BATCH):
        labels = np.arange(begin, min(begin + BATCH, images)) % classes
        scores = random.random((len(labels), classes), "float32")
        others = random.integers(0, classes, len(labels))
        right = random.random(len(labels)) < 0.5
        answers = np.where(right, labels, others)
        scores[np.arange(len(labels)), answers] += classes
        yield labels, scores / scores.sum(1, keepdims=True)


def _write_run(folder, images, classes):
    from transfer.scores import predictions

    collector = predictions.Collector(images)
    for labels, scores in _make_batches(images, classes):
        collector.keep(scores, labels)
    names = tuple(f"{number}.jpg" for number in range(images))
    hashes = np.zeros((0, 32), "uint8")
    found = collector.collect(predictions.Images(names, hashes, "f"))
    folder.mkdir(exist_ok=True, parents=True)
    predictions.write(folder / predictions.PREDICTIONS_FILE, found)
    cells, counts = np.unique(
        np.stack([found.labels, found.predicted]), axis=1, return_counts=True
    )
    hits = float((found.labels == found.predicted).mean())
    row = {
        **{"task": "folder:/photos", "model": "efficientnet_lite0"},
        **{"weights": "imagenet", "recipe": "full", "metric": "top1"},
        **{"changed": {}, "score": hits, "top1": hits, "seed": 0},
        **{"evaluated_on": "test", "train_images": images},
        "test_images": images,
        "class_names": [f"class{i}" for i in range(classes)],
        "confusion": [
            [int(i), int(j), int(n)]
            for (i, j), n in zip(cells.T, counts, strict=True)
        ],
    }
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    config = {"task": row["task"], "train_on": "train"}
    (folder / "config.json").write_text(json.dumps(config))


def report_images(count, folder):
    """Writes the report of a run of so many images in ten classes."""
    return _report(folder, count, 10)


def report_classes(count, folder):
    """Writes the report of a run of so many classes."""
    return _report(folder, PER_CLASS * count, count)


def _report(folder, images, classes):
    from transfer.report import run_files, run_report

    _write_run(folder / "run", images, classes)
    return lambda: run_report.write(run_files.read(folder / "run"), None)


def score_classes(count, folder):
    """Computes accuracies and the confusion of so many classes."""
    from efficientnet_tf.inference import evaluate

    labels, scores = next(_make_batches(BATCH, count))
    batches = [(scores, labels)] * 10

    class Network:
        def predict_on_batch(self, images):
            return images

    return lambda: evaluate.evaluate(Network(), batches)


def report_grid(count, folder):
    """Writes the report of a grid of so many runs, three seeds each."""
    from transfer.report import results, write

    _write_run(folder / "run", 2000, 10)
    row = json.loads((folder / "run/results.jsonl").read_text())
    lines = [
        json.dumps({**row, "seed": i % 3, "recipe": f"r{i // 3}"})
        for i in range(count)
    ]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")

    def report():
        rows = results.summarize(results.read_results([folder]))
        write.write(rows, folder / "report")

    return report


# Part -> (what makes it, its counts).
PARTS = {
    "listing a folder: images": (list_folder, IMAGES),
    "listing a folder: links": (list_links, IMAGES),
    "cutting splits by hashes: images": (split_names, IMAGES),
    "examining images: images": (examine_images, IMAGES[:3]),
    "report of a run: images": (report_images, IMAGES),
    "report of a run: classes": (report_classes, CLASSES),
    "scores and confusion: classes": (score_classes, CLASSES),
    "report of a grid: runs": (report_grid, (10, 100, 1000)),
}
HEADER = ("part", "count", "seconds", "peak MB", "slope s", "slope MB")


def main(_):
    if PART.value:
        print(json.dumps(_measure(*PARTS[PART.value][:1], COUNT.value)))
        return
    folder = pathlib.Path(OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "scale.jsonl"
    rows = files.read_json_lines(kept, {}) if kept.exists() else []
    for part, (_, counts) in PARTS.items():
        for count in counts:
            done = {(row["part"], row["count"]) for row in rows}
            if count > MOST.value or (part, count) in done:
                continue
            row = {"part": part, "count": count, **_run_apart(part, count)}
            files.append_json_line(kept, row)
            rows.append(row)
            print(row, flush=True)
    text = tables.to_markdown(HEADER, _list_cells(rows))
    files.write_text(folder / "scale.md", text)
    figures.write_png(folder / "scale.png", _draw(rows))
    print(text)


def _run_apart(part, count):
    command = [sys.executable, __file__, f"--part={part}", f"--count={count}"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return {"seconds": None, "peak_mb": None}
    if done.returncode:
        return {"seconds": None, "peak_mb": None}
    return json.loads(done.stdout.splitlines()[-1])


def _measure(make, count):
    """Returns seconds and the memory that the work adds at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        work = make(count, pathlib.Path(folder))
        before = _memory("VmRSS")
        # The peak so far is that of making the work.
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        peak = _memory("VmHWM") - before
    return {"seconds": round(seconds, 3), "peak_mb": round(peak, 1)}


def _memory(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}.")


def _list_cells(rows):
    for row, last in zip(rows, [None, *rows], strict=False):
        fresh = last is None or last["part"] != row["part"]
        yield (
            row["part"],
            f"{row['count']:,}",
            *(_text(row[key]) for key in ("seconds", "peak_mb")),
            *(
                "" if fresh else _slope(last, row, key)
                for key in ("seconds", "peak_mb")
            ),
        )


def _text(value):
    return "failed" if value is None else f"{value:.4g}"


def _slope(last, row, key):
    values = last[key], row[key]
    if None in values or min(values) <= 0:
        return "–"
    grown = np.log(values[1] / values[0])
    return f"{grown / np.log(row['count'] / last['count']):.2f}"


def _draw(rows):
    """Returns the plot as a PNG: time and memory by count."""
    panels = (("seconds", "seconds"), ("peak_mb", "peak memory, MB"))
    drawing, axes = figures.make_figure(1, 2, (11, 4.5))
    for axis, (key, name) in zip(axes, panels, strict=True):
        for part in PARTS:
            own = [r for r in rows if r["part"] == part and r[key]]
            axis.loglog(
                [r["count"] for r in own],
                [r[key] for r in own],
                "o-",
                label=part,
            )
        axis.set(xlabel="count", ylabel=name)
    names = axes[0].get_legend_handles_labels()
    drawing.legend(*names, loc="outside lower center", ncols=4, fontsize=8)
    return figures.rasterize(drawing)


if __name__ == "__main__":
    app.run(main)
