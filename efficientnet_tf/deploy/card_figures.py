"""The measured figures of a model card, with their intervals."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from efficientnet_tf.data.sets import terms as terms_lib
from efficientnet_tf.deploy import card_data, scorecard
from efficientnet_tf.utils import intervals as intervals_lib, tables, words

# Of a run's row: the hub's kind of metric, and its name for people. Shares of
# images; other metrics stand as they are.
METRICS = {
    "top1": ("accuracy", "top-1 accuracy"),
    "top5": ("accuracy", "top-5 accuracy"),
    "mean_per_class": ("recall", "mean accuracy of the classes"),
    # Lower is better: how far probabilities are from accuracy.
    "ece": ("ece", "expected calibration error"),
    # Of labels.
    "map": ("mAP", "mean average precision"),
    "mean_f1": ("f1", "mean F1 of the labels"),
}
# So few images of a class say little of it.
_FEW = 10
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured number, on which images, and its 95 % interval or None."""

    kind: str
    name: str
    value: float
    images: int | None
    split: str
    data: terms_lib.Terms | None
    interval: tuple[float, float] | None = None
    is_share: bool = True


def collect(
    row: Mapping[str, Any],
    intervals: Mapping[str, tuple[float, float]],
    table: Mapping[str, Any],
) -> list[Figure]:
    """Returns the figures of a run's row, or else of an export's network.

    Args:
      row: {}: there is none.
      intervals: of the row's metrics.
      table: the export's JSON; {}: there is none.
    """
    if not row:
        return list(_of_export(table))
    names = [*METRICS, row.get("metric", "")]
    data = card_data.describe(row)
    figures = []
    for name in dict.fromkeys(names):
        # The saved network has the averaged weights, where there are any.
        value = row.get(f"ema_{name}", row.get(name))
        if name and name == row.get("metric"):
            value = row.get("score")
        if not isinstance(value, int | float) or _says_nothing(name, row):
            continue
        kind, label = METRICS.get(name, (name, name))
        figures.append(
            Figure(
                kind,
                label,
                value,
                row.get("test_images"),
                str(row.get("evaluated_on", "evaluation")),
                data,
                intervals.get(name),
                name in METRICS,
            )
        )
    return figures


def _says_nothing(name, row):
    """Whether a figure is 1 for any network: top-5 of five classes."""
    names = row.get("class_names")
    return name == "top5" and names is not None and len(names) <= 5


def _of_export(table):
    for row in table.get("rows", ()):
        if row["file"] == scorecard.REFERENCE and "top1" in row:
            yield Figure(
                *METRICS["top1"],
                row["top1"],
                row["images"],
                str(table.get("split", "evaluation")),
                card_data.describe(table),
                intervals_lib.wilson(row["top1"], row["images"]),
            )


def to_index(
    title: str, figures: Sequence[Figure], data: terms_lib.Terms | None
) -> list[dict]:
    """Returns the hub's model-index of figures; [] without any."""
    if not figures:
        return []
    data = figures[0].data or data
    kind = "imagefolder"  # As the hub calls a folder of class folders.
    if data is not None and data != card_data.OWN:
        kind = data.hub or data.title
    return [
        {
            "name": title,
            "results": [
                {
                    "task": {"type": "image-classification"},
                    "dataset": {
                        "name": data.title if data else "not known",
                        "type": kind,
                        "split": figures[0].split,
                    },
                    "metrics": [
                        {
                            "type": figure.kind,
                            "value": round(figure.value, 6),
                            "name": figure.name,
                        }
                        for figure in figures
                    ],
                }
            ],
        }
    ]


def list_lines(
    figures: Sequence[Figure],
    table: Mapping[str, Any],
    row: Mapping[str, Any],
) -> Iterator[str]:
    """Yields the section of measured figures, and of exported files."""
    yield from ("## Measured", "")
    if not figures:
        yield from ("Nothing is recorded.", "")
    else:
        lines = [
            (f.name, _show(f, f.value), _show_interval(f), _show_images(f))
            for f in figures
        ]
        header = ("what", "value", "95 % interval", "on")
        yield from (tables.to_markdown(header, lines), "")
    copies = [row.get(f"{kind}_duplicates") or 0 for kind in ("exact", "near")]
    if sum(copies):
        yield (
            f"{words.count(sum(copies), 'image')} of these are nearly the same "
            "as one of another split, so the figures are too high."
        )
        yield ""
    if len(table.get("rows", ())) > 1:
        yield from _list_files(table)


def _list_files(table):
    machine = table.get("processor") or {}
    cores = words.count(machine.get("cores", 0), "core")
    name = f"{machine.get('name')}, {cores}" if machine else "not recorded"
    yield f"Each file beside the Keras network; times on: {name}."
    yield ""
    yield scorecard.to_markdown(table["rows"])
    yield ""


def _show(figure, value):
    return f"{100 * value:.1f} %" if figure.is_share else f"{value:.4g}"


def _show_interval(figure):
    if figure.interval is None:
        return "not computed"
    return " to ".join(_show(figure, end) for end in figure.interval)


def _show_images(figure):
    title = figure.data.title if figure.data else "data that are not known"
    if figure.images is None:
        return f"{title}, {figure.split}"
    return f"{words.count(figure.images, f'{figure.split} image')}, {title}"


def list_weak(row: Mapping[str, Any]) -> Iterator[str]:
    """Yields sentences on the classes of which a row says little or no good."""
    names, cells = row.get("class_names"), row.get("confusion")
    if not names or not cells:
        return
    images, hits = [0] * len(names), [0] * len(names)
    for true, predicted, count in cells:
        images[true] += count
        hits[true] += count if true == predicted else 0
    few = sum(0 < count < _FEW for count in images)
    if few:
        yield (
            f"Of {words.count(few, 'class')} there were fewer than {_FEW} "
            "images to score on, so little is known of each."
        )
    absent = sum(not count for count in images)
    if absent:
        yield f"Of {words.count(absent, 'class')} nothing was scored."
    order = sorted(
        (hits[i] / images[i], i) for i in range(len(names)) if images[i]
    )
    worst = [(rate, i) for rate, i in order if rate < 1][:_SHOWN]
    if worst:
        listed = ", ".join(
            f"{tables.escape_markdown(str(names[i]))} ({hits[i]} of "
            f"{images[i]})"
            for _, i in worst
        )
        yield f"Found least often: {listed}."
