"""What a model card says of weights and data: names, never paths."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from efficientnet_tf.data.sets import terms as terms_lib
from efficientnet_tf.utils import data_names, durations, tables, words
from efficientnet_tf.weights import origins

# Where the sets of a kind are to be seen.
_PAGES = {
    data_names.TFDS: "https://www.tensorflow.org/datasets/catalog/{}",
    data_names.HF: "https://huggingface.co/datasets/{}",
}
# As the hub has them; more than one slash is a path.
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
OWN = terms_lib.Terms(
    "own images", "", "those of the images, which whoever took them knows"
)


def describe(config: Mapping[str, Any]) -> terms_lib.Terms | None:
    """Returns the data set of a run; None: its config names none."""
    name = config.get("task") or config.get("dataset")
    if not isinstance(name, str):
        return None
    return describe_name(name)


def is_path(name: str) -> bool:
    """Whether a task or data set is a file or folder of somebody's own."""
    kind, rest = data_names.parse(name)
    if kind is data_names.HF:
        # Its library reads folders, too, by the same rule.
        known = _HUB_NAME.fullmatch(rest) and not os.path.isdir(rest)
        return not known
    if kind is data_names.TFDS or kind is None:
        # Of TFDS's names, "set/config" has one slash, and is no file.
        return ":" in rest or rest.startswith((os.sep, ".", "~"))
    return kind.is_path


def describe_name(name: str) -> terms_lib.Terms:
    """Returns the data set of a task's name, or `OWN`."""
    if is_path(name):
        return OWN
    kind, rest = data_names.parse(name)
    if kind is not data_names.HF and rest in terms_lib.TERMS:
        return terms_lib.TERMS[rest]
    if kind is data_names.HF:
        return terms_lib.Terms(rest, _PAGES[kind].format(rest), hub=rest)
    page = _PAGES[data_names.TFDS].format(rest.partition("/")[0])
    return terms_lib.Terms(rest, page)


def list_names(data: terms_lib.Terms | None) -> list[str]:
    """Returns the hub's names of the data, for the card's head."""
    return [data.hub] if data is not None and data.hub else []


def list_lines(
    config: Mapping[str, Any],
    row: Mapping[str, Any],
    origin: origins.Origin | None,
) -> Iterator[str]:
    """Yields the section on what a network was trained on."""
    yield from ("## Data", "")
    data = describe(config)
    if data is None:
        yield "- Of a training by this package nothing is recorded."
    else:
        count = row.get("train_images")
        images = "images, nobody recorded how many,"
        if count is not None:
            images = words.count(count, "image")
        own = ", somebody's own" if data == OWN else f" of {_link(data)}"
        yield f"- Trained on {images}{own}."
        yield from (f"- {text}" for text in _list_conditions(row))
    yield f"- {'Started from' if config else 'Weights'}: {_describe(origin)}."
    yield ""


def list_terms(
    origin: origins.Origin | None,
    data: terms_lib.Terms | None,
    *,
    trained: bool,
) -> Iterator[str]:
    """Yields what is known of the licenses of weights and data.

    Args:
      origin: of the weights; None: not known.
      data: the data set; None: not known.
      trained: whether a run of ours has trained the weights further.
    """
    role = "Weights that it started from" if trained else "Weights"
    if origin is None or origin == origins.UNKNOWN:
        yield f"**{role}**: not known."
    elif origin != origins.RANDOM:
        license = origin.license or "not known here; look at their page"
        page = f" ([page]({origin.page}))" if origin.page else ""
        changed = "; changed by fine-tuning" if trained else ""
        yield f"**{role}**: {license}{page}{changed}."
        if origin.on_imagenet and data != terms_lib.IMAGENET:
            yield from _terms_of(terms_lib.IMAGENET, "trained on")
    if data is None:
        yield "**Data**: not known."
    else:
        yield from _terms_of(data, "" if trained else "trained on")


def _terms_of(data, role):
    role = f", which the weights were {role}" if role else ""
    yield f"**Data, {_link(data)}**{role}: {data.terms}."


def _link(data):
    title = tables.escape_markdown(data.title)
    return f"[{title}]({data.page})" if data.page else title


def _list_conditions(row):
    if row.get("complete") is False:
        yield (
            "That is a part of the set, so its figures do not compare with "
            "published ones."
        )
    recipe = row.get("recipe")
    if recipe:
        changed = ", ".join(
            f"{name}={value}"
            for name, value in (row.get("changed") or {}).items()
            if os.sep not in str(value)
        )
        text = f"Recipe `{recipe}`" + (f" with `{changed}`" if changed else "")
        yield f"{text}: {_length(row)}."
    if row.get("seconds") is not None:
        yield f"It took {durations.show(row['seconds'])}."


def _length(row):
    """Returns how long a network was trained, in words."""
    if row.get("steps"):
        return words.count(row["steps"], "step")
    if row.get("epochs"):
        return words.count(row["epochs"], "epoch")
    return "a classifier on the frozen network, which was not trained further"


def _describe(origin):
    if origin is None:
        return "not known"
    text = tables.escape_markdown(origin.text)
    if origin.on_imagenet:
        also = f" and {origin.more_data}" if origin.more_data else ""
        text += f", trained on ImageNet-1k{also}"
    return f"[{text}]({origin.page})" if origin.page else text
