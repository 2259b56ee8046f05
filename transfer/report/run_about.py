"""How a run was made: learning curves, images, recipe, machine, command."""

import math
import shlex

from efficientnet_tf.utils import (
    durations,
    files,
    image_sizes,
    phases,
    untrusted,
    words,
)
from transfer.report import charts, page, run_files, run_folds

# {title: (column of training, columns of validation: the first one counts)}
_CHARTS = {
    "Accuracy": ("top1", ("val_ema_top1", "val_top1")),
    "Mean average precision": ("map", ("val_ema_map", "val_map")),
    "R²": ("r2", ("val_ema_r2", "val_r2")),
    "Loss": ("loss", ("val_loss",)),
}


def show_curves(run: run_files.Run) -> str:
    """Returns accuracy and loss over whole epochs, as HTML."""
    curves = run.row.get("curves") or {}
    if run.row.get("folds"):
        return page.paragraph("In each fold's own report.")
    if not curves.get("epoch"):
        return page.paragraph(
            "No epochs: a linear classifier was fitted on features of the "
            "frozen network."
            if run.row.get("epochs") == 0 and not run.row.get("steps")
            else "No epochs are recorded."
        )
    drawn = []
    for title, (own, held) in _CHARTS.items():
        names = {"training images": (own,), "validation images": held}
        series = []
        for label, columns in names.items():
            column = next((c for c in columns if c in curves), None)
            if column is not None:
                points = list(zip(curves["epoch"], curves[column], strict=True))
                series.append(charts.Series(label, charts.thin(points)))
        if series:
            drawn.append(_draw(title, series, curves["epoch"]))
    note = ""
    if not any(name.startswith("val_") for name in curves):
        note = page.paragraph(
            "It was trained on the validation images too, so there is no curve "
            "of theirs.",
            "muted",
        )
    return f'<div class="charts">{"".join(drawn)}</div>{note}'


def _draw(title, series, epochs):
    values = [y for each in series for _, y in each.points]
    if title == "Accuracy":
        axis = charts.share_axis("right, %", min([*values, 0.99]))
    elif title == "R²":
        axis = charts.span_axis("R²", values)
    else:
        axis = charts.value_axis(title.lower(), values)
    caption = f"{title} after each epoch; of training images, while training."
    return charts.draw(series, charts.epoch_axis(epochs), axis, caption)


def show_training(run: run_files.Run) -> str:
    """Returns what was trained on what, for how long, as HTML."""
    row = run.row
    size = image_sizes.show_row(row)
    parameters = row.get("parameters")
    lines = {
        "data": row["task"],
        "images": run_folds.describe(row)[2:]
        if row.get("folds")
        else (
            f"{_count(row, 'train_images')} to train on "
            f"({run.config.get('train_on', 'train')}), "
            f"{_count(row, 'test_images')} to score on "
            f"({row.get('evaluated_on', 'test')})"
        ),
        "network": row["model"]
        + (f", {parameters / 1e6:.2f} million parameters" if parameters else "")
        + ("" if size == "–" else f", at {size} pixels"),
        "images of other shapes": row.get("resize", ""),
        "initial weights": row.get("weights") or "random",
        "recipe": row["recipe"] or "of its own",
        "changed": ", ".join(
            f"{name}={value}" for name, value in row.get("changed", {}).items()
        ),
        "length": _describe_length(row),
        "kept": f"{row['kept']}: {row.get('why')}" if "kept" in row else "",
        "tried": row.get("tried") or "",
        "seed": str(row.get("seed", "–")),
        "time": durations.show(row["seconds"]) if row.get("seconds") else "–",
        "of the last process": _describe_phases(row.get("phases") or {}),
    }
    rows = [(name, text) for name, text in lines.items() if text]
    return page.table((), rows, words=2)


def _describe_phases(found):
    """Returns where the time went, the most first; "" if it is not known."""
    known = {
        name: seconds
        for name, seconds in found.items()
        if name in phases.NAMES
        and files.is_a(seconds, float)
        and 0 < seconds < math.inf
    }
    total = sum(known.values())
    return ", ".join(
        f"{phases.NAMES[name]} {durations.show(seconds)}"
        for name, seconds in sorted(known.items(), key=lambda item: -item[1])
        if seconds >= total / 200
    )


def show_environment(run: run_files.Run) -> str:
    """Returns date, machine, versions and the command, as HTML."""
    found = run.environment
    lines = {}
    if found:
        memory = found.get("memory_gb")
        lines = {
            "finished": str(found.get("finished", "")).replace("T", " "),
            "computed on": found.get("device", ""),
            "processor": f"{found.get('processor', '?')}, "
            f"{words.count(found.get('cores', 0), 'core')} of it used"
            + (f", {memory:g} GB of memory" if memory else ""),
            "system": found.get("system", ""),
            "versions": ", ".join(
                f"{untrusted.shorten(name)} {untrusted.shorten(version)}"
                for name, version in found.get("versions", {}).items()
            ),
        }
    rows = [(name, text) for name, text in lines.items() if text]
    table = page.table((), rows, words=2) if rows else ""
    command = found.get("command")
    text = "The command:"
    if not command:
        command = _make_command(run)
        text = "No command was recorded; this one has the same settings:"
    return f"{table}{page.paragraph(text)}<pre>{page.escape(command)}</pre>"


def _make_command(run):
    """Returns the command that a run's configuration amounts to."""
    row, config = run.row, run.config
    flags = {
        "task": row["task"],
        "model": row["model"],
        "weights": row.get("weights") or "none",
        "recipe": row["recipe"],
        "labels": ",".join(config.get("labels") or ()),
        "targets": ",".join(config.get("targets") or ()),
        "group_by": config.get("group_by"),
        "skip_bad": "true" if config.get("skip_bad") else None,
        "source_family": config.get("source_family"),
        "normalization": config.get("normalization"),
        "workdir": str(run.folder),
    }
    if row.get("folds"):
        flags["folds"] = str(row["folds"])
    changed = {**row.get("changed", {}), "seed": row.get("seed") or None}
    parts = [f"--{name}={value}" for name, value in flags.items() if value]
    parts += [
        f"--set={name}={_to_flag(value)}"
        for name, value in changed.items()
        if value is not None
    ]
    return shlex.join(["efficientnet", "finetune", *parts])


def _to_flag(value):
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value


def _count(row, name):
    return f"{row[name]:,}" if row.get(name) is not None else "?"


def _describe_length(row):
    if row.get("steps"):
        return words.count(row["steps"], "step")
    if row.get("epochs"):
        return words.count(row["epochs"], "epoch")
    if row.get("folds"):
        return "as in each fold's own report"
    return "a linear classifier on the frozen network, no epochs"
