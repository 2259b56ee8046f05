"""What a command tells people before its JSON line: facts, and what is next."""

import pathlib
import shlex
import shutil
import sys
import typing
from collections.abc import Mapping, Sequence

from efficientnet_tf.utils import (
    run_folder,
    tables,
    targets,
    words,
)

if typing.TYPE_CHECKING:
    import numpy as np

# What `python -m` runs where the program is not installed.
MODULES = {"efficientnet": "efficientnet_tf", "tensorboard": "tensorboard.main"}
SHOWN = 3  # Classes, or pairs of classes, that a list names.
MOST_NUMBERS = 10  # Each with its errors.


def print_summary(
    title: str,
    facts: Mapping[str, str | None],
    commands: Sequence[Sequence[str] | None] = (),
) -> None:
    """Prints a short block on standard output.

    Args:
      title: one sentence.
      facts: {what: text}; None is left out.
      commands: arguments of commands that run as printed; None is left out.
    """
    facts = {
        name: tables.to_line(text)
        for name, text in facts.items()
        if text is not None
    }
    width = max(map(len, facts), default=0)
    lines = [
        "",
        tables.to_line(title),
        *(f"  {k:{width}}  {v}" for k, v in facts.items()),
    ]
    shown = [_to_line(command) for command in commands if command is not None]
    if shown:
        lines += ["", "Next:", *(f"  {line}" for line in shown)]
    print("\n".join(lines), end="\n\n", flush=True)


def print_run(
    title: str,
    facts: Mapping[str, str | None],
    workdir: str,
    command: Sequence[str],
) -> None:
    """Prints the block of a training run.

    Args:
      title: one sentence.
      facts: {what: text}, to which the run's model is added.
      workdir: the run's folder.
      command: the run's own next command, shown after `efficientnet predict`
        and before TensorBoard.
    """
    # A cross-validation has them in its folds' folders.
    folders = run_folder.list_folds(workdir) or [pathlib.Path(workdir)]
    models = str(folders[0] / run_folder.MODEL_FILE)
    if len(folders) > 1:
        models += f", and so on to {folders[-1].name}"
    images = sorted((folders[0] / run_folder.EXAMPLES).glob("*.png"))
    predict = ["efficientnet", "predict", f"--workdir={workdir}"]
    print_summary(
        title,
        {**facts, "model": models},
        [
            [*predict, str(images[0])] if images else None,
            command,
            ["tensorboard", f"--logdir={workdir}"],
        ],
    )


def top1_text(rate: float, images: int, split: str = "test") -> str:
    """Returns `accuracy_text` of a share of images, with its interval."""
    from efficientnet_tf.utils import intervals  # It imports NumPy.

    return accuracy_text(rate, intervals.wilson(rate, images), images, split)


def accuracy_text(
    rate: float,
    interval: tuple[float, float] | None,
    images: int,
    split: str = "test",
) -> str:
    """Returns "93.1 % (95 % interval 90.0 to 95.3) on 360 test images"."""
    text = percent_text(rate)
    if interval is not None:
        low, high = interval
        text += f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    return f"{text} on {words.count(images, f'{split} image')}"


def target_facts(
    row: Mapping[str, typing.Any], target: str, split: str = "scored"
) -> dict[str, str | None]:
    """Returns the scores of labels or numbers, for `print_summary`.

    Args:
      row: the fields of `target_scores.score`, "images" and "class_names".
      target: which of both.
      split: what the images are called.
    """
    metric = targets.METRICS[target]
    name, value = targets.METRIC_NAMES[metric], row[metric]
    if value is None:
        return {name: "not defined on these images"}
    interval = row["interval"]
    if target == targets.LABELS:
        found = accuracy_text(value, interval, row["images"], split)
        f1 = row["mean_f1"]
        return {
            name: found,
            "mean F1": None if f1 is None else percent_text(f1),
            "all labels right": f"{percent_text(row['equal_sets'])} of images",
        }
    text = f"{value:.3f}"
    if interval is not None:
        text += f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"
    each = row["numbers"]
    columns = zip(
        row["class_names"], each["mae"], each["rmse"], each["r2"], strict=True
    )
    return {
        name: f"{text} on {words.count(row['images'], f'{split} image')}",
        **{
            label: f"off by {mae:.4g} on average (MAE), RMSE {rmse:.4g}"
            + (f", R² {r2:.3f}" if r2 is not None else "")
            for label, mae, rmse, r2 in list(columns)[:MOST_NUMBERS]
        },
    }


def class_facts(
    confusion: "np.ndarray", class_names: Sequence[str]
) -> dict[str, str | None]:
    """Returns what one accuracy hides, for `print_summary`.

    Args:
      confusion: image counts [true class, predicted class].
      class_names: in their order.

    Returns:
      The mean of the classes' accuracies, the classes of which no image was
      found, and the pairs that were mistaken most often.
    """
    images = confusion.sum(axis=1)
    hits = confusion.diagonal()
    scored = images > 0
    mean = (hits[scored] / images[scored]).mean()
    missed = [class_names[i] for i in (scored & (hits == 0)).nonzero()[0]]
    return {
        "mean per class": percent_text(mean),
        "never found": _list_some(missed),
        "most confused": _list_some(_list_mistakes(confusion, class_names)),
    }


def _list_mistakes(confusion, class_names):
    """Returns "a taken for b (3 of 9)" of each pair, most frequent first."""
    from transfer.scores import diagnostics

    images = confusion.sum(axis=1)
    return [
        f"{class_names[true]} taken for {class_names[predicted]} "
        f"({confusion[true, predicted]} of {images[true]})"
        for true, predicted in diagnostics.worst_pairs(
            confusion, confusion.size
        )
    ]


def _list_some(texts):
    """Returns the first of some texts, and how many more there are."""
    if not texts:
        return None
    rest = len(texts) - SHOWN
    shown = ", ".join(texts[:SHOWN])
    return f"{shown} and {rest} more" if rest > 0 else shown


def percent_text(rate: float) -> str:
    """Returns "93.1 %"."""
    return f"{100 * rate:.1f} %"


def _to_line(command):
    """Returns a command as a shell takes it, by the path that works here."""
    program, *rest = command
    ours = pathlib.Path(sys.executable).with_name(program)
    if not ours.exists():
        return shlex.join([sys.executable, "-m", MODULES[program], *rest])
    # An environment may run without being activated.
    is_first = shutil.which(program) == str(ours)
    return shlex.join([program if is_first else str(ours), *rest])
