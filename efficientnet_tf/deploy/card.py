"""A model card: README.md with the hub's metadata, made of what is known.

Nothing in it is written for effect: sentences stand around recorded data, and
what is not recorded is said to be not known.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from efficientnet_tf.data.sets import terms as terms_lib
from efficientnet_tf.deploy import (
    card_data,
    card_figures,
    card_loading,
    card_metadata,
    licenses,
    metadata,
    scorecard,
)
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    settings as settings_lib,
)
from efficientnet_tf.utils import (
    documents,
    files,
    run_folder,
    tables,
    targets,
    words,
)
from efficientnet_tf.weights import origins

FILE = "README.md"
_LISTED = 20  # Classes that the card names; labels.txt has all.
_MARK = re.compile(r"<!-- efficientnet_tf ([0-9a-f]{64}) -->\n\Z")


@dataclasses.dataclass(frozen=True)
class About:
    """What is known of a classifier besides itself.

    Attributes:
      network: its name; "": not known.
      origin: of its weights, or of those that its run started from; None: not
        known.
      config: of its run; {}: it is of no run.
      row: of its run's results; {}: not known.
      intervals: {metric: (low, high)} of the row's figures.
      license: that somebody chose for it; None: nobody did.
      repository: USER/NAME on the hub; "": it is not there.
    """

    network: str = ""
    origin: origins.Origin | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(
        default_factory=dict
    )
    license: str | None = None
    repository: str = ""

    @property
    def data(self) -> terms_lib.Terms | None:
        """The data set that it was trained on; None: not known."""
        if self.config:
            return card_data.describe(self.config)
        if self.origin is not None and self.origin.on_imagenet:
            return terms_lib.IMAGENET
        return None

    @property
    def named_license(self) -> str:
        """As the hub has it: the chosen one, or that of published weights."""
        published = None if self.config or not self.origin else self.origin
        return (
            self.license
            or (published and published.license)
            or licenses.UNKNOWN
        )


UNKNOWN = About()


def make(
    settings: settings_lib.Settings,
    about: About = UNKNOWN,
    table: Mapping[str, Any] = files.NOTHING,
    folder: str = "",
) -> str:
    """Returns the text of a card.

    Args:
      settings: the classifier's.
      about: what else is known.
      table: the JSON of an export's table; {}: nothing is exported.
      folder: where the table's files are beside the card, as in "exports/".
    """
    rows = [dict(row) for row in table.get("rows", ())]
    exported = [row for row in rows if row["file"] != scorecard.REFERENCE]
    figures = card_figures.collect(about.row, about.intervals, table)
    title = _title(settings, about)
    head = card_metadata.to_text(
        {
            "library_name": "keras",
            "pipeline_tag": "image-classification",
            "license": about.named_license,
            "base_model": about.origin and about.origin.base_model,
            "datasets": card_data.list_names(about.data),
            "metrics": sorted({figure.kind for figure in figures}),
            "tags": ["image-classification", "efficientnet", "keras"],
            "model-index": card_figures.to_index(title, figures, about.data),
        }
    )
    lines = [
        f"# {tables.escape_markdown(title)}",
        "",
        *_describe(settings, about),
        *card_data.list_lines(about.config, about.row, about.origin),
        *card_figures.list_lines(figures, table, about.row),
        *_list_limits(settings, about, table),
        *_list_loading(settings, about, exported, folder),
        *_list_licenses(about),
    ]
    return _mark(f"{head}\n" + "\n".join(lines) + "\n")


def is_own(text: str) -> bool:
    """Whether a card is one of `make`'s that nobody has changed."""
    found = _MARK.search(text)
    return found is not None and found[1] == _hash(text[: found.start()])


def write(
    plan_folder: pathlib.Path,
    folder: pathlib.Path,
    classifier: classifier_lib.Classifier,
    about: About,
    table: pathlib.Path,
) -> dict[pathlib.Path, pathlib.Path]:
    """Writes the card of an export into a folder for now.

    One that somebody has changed stays as it is, with a line.

    Args:
      plan_folder: where it belongs.
      folder: where it is written.
      classifier: of the files.
      about: what is known of it.
      table: the JSON of the files' table, in `folder`.

    Returns:
      {path: where it belongs}.
    """
    belongs = plan_folder / FILE
    if belongs.exists():
        text = files.read_bytes(belongs).decode(errors="replace")
        if not is_own(text):
            logging.warning(
                "%s was changed by hand and stays as it is; delete it for a "
                "new one.",
                belongs,
            )
            return {}
    read = documents.read_object(table, {})
    text = make(classifier.settings, about, read)
    files.write_text(folder / FILE, text)
    return {folder / FILE: belongs}


def _title(settings, about):
    if about.repository:
        return about.repository.partition("/")[2]
    network = about.network or "Image classifier"
    word = {targets.LABELS: "label", targets.NUMBERS: "number"}
    count = words.count(
        len(settings.class_names), word.get(settings.target, "class")
    )
    data = about.data
    return f"{network}, {data.title if data else count}"


def _describe(settings, about) -> Iterator[str]:
    names: Sequence[str] = settings.class_names
    fields = dataclasses.asdict(settings)
    del fields["class_names"]
    listed = ", ".join(map(tables.escape_markdown, names[:_LISTED]))
    more = len(names) - _LISTED
    read = json.loads(metadata.to_text(settings, "float32"))["input"]
    parameters = about.row.get("parameters")
    facts = {
        "Network": about.network or "not known",
        "Parameters, without the classifier": (
            f"{parameters:,}" if parameters else "not recorded"
        ),
        "Input": f"{read}; normalization is inside",
        "Settings, as in `classifier.json`": ", ".join(
            f"{k}: {v}" for k, v in fields.items()
        ),
    }
    yield {
        targets.CLASS: "Sorts an image into one of "
        f"{words.count(len(names), 'class')}:",
        targets.LABELS: "Says which of "
        f"{words.count(len(names), 'label')} an image has, each by its own "
        "probability and threshold:",
        targets.NUMBERS: "Predicts of an image "
        f"{words.count(len(names), 'number')}:",
    }[settings.target]
    yield listed + (f" and {more:,} more (`labels.txt`)." if more > 0 else ".")
    yield ""
    yield tables.to_markdown(("", ""), facts.items())
    yield from ("", "## Intended use", "")
    yield "Nobody has recorded what it is meant for, nor what it is not for."
    yield ""


def _list_limits(settings, about, table) -> Iterator[str]:
    yield from ("## Limits", "")
    if settings.target == targets.CLASS:
        yield (
            "- Every image gets one of the classes, also one that shows none "
            "of them."
        )
    elif settings.target == targets.NUMBERS:
        yield "- Every image gets numbers, also one unlike all of the data."
    measured = {"top1", *targets.METRIC_NAMES}
    if about.row or any(measured & row.keys() for row in table.get("rows", ())):
        yield (
            "- The figures are for images of the set that is named beside "
            "them; for others, nothing is recorded."
        )
    else:
        yield "- No accuracy is recorded."
    yield from (f"- {text}" for text in card_figures.list_weak(about.row))
    yield ""


def _list_loading(settings, about, exported, folder) -> Iterator[str]:
    yield from ("## How to load it", "")
    if about.repository:
        yield from (
            "```python",
            "import efficientnet_tf",
            "",
            "classifier = efficientnet_tf.load_classifier("
            f'"hf://{about.repository}")',
            'classifier.predict(["photo.jpg"])  # Probabilities.',
            "```",
            "",
        )
    if not exported:
        return
    own = (
        "with `efficientnet_tf.load_classifier(FILE)`, or without this package"
    )
    read = json.loads(metadata.to_text(settings, "float32"))["input"]
    yield (
        f"Files{f' of `{folder}`' if folder else ''}: {own}, where `images` is "
        f"{read}, prepared as `{run_folder.SETTINGS_FILE}` says; "
        "`classifier.preprocess` does that."
    )
    yield ""
    yield from card_loading.list_lines(
        exported, folder, targets.value_name(settings.target)
    )


def _list_licenses(about) -> Iterator[str]:
    chosen = about.named_license
    yield from ("## License", "")
    if chosen == licenses.UNKNOWN:
        yield "- **This model**: unknown: choose one (`--license`)."
    else:
        yield f"- **This model**: {chosen}."
    listed = card_data.list_terms(
        about.origin, about.data, trained=bool(about.config)
    )
    yield from (f"- {line}" for line in listed)


def _mark(text):
    return f"{text}\n<!-- efficientnet_tf {_hash(text + chr(10))} -->\n"


def _hash(text):
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
