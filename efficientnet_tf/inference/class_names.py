"""Which output of a classifier belongs to which class of a data set."""

import collections
import dataclasses
import unicodedata
from collections.abc import Sequence

from efficientnet_tf.data import imagenet

# How many names a message lists of each side.
LISTED = 5


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """Where the classes of a data set stand in a model's outputs.

    `outputs[i]` is the output of the data's class i. `absent` names the model's
    classes that the data do not have, and `note` says in words what was
    matched otherwise than one to one in the same order; it is "" if nothing
    was.
    """

    outputs: tuple[int, ...]
    absent: tuple[str, ...]
    note: str


def match(model: Sequence[str], data: Sequence[str]) -> ClassMap:
    """Matches classes by their names.

    Capitals, underscores, hyphens and the encoding of accents do not count
    where the names stay different without them, and a WordNet id is the same as
    ImageNet's name for it.

    Args:
      model: the class names of a classifier, in the order of its outputs.
      data: the class names of a data set, in the order of its labels; any
        subset of the model's, in any order.

    Raises:
      ValueError: the data have a class that the model does not have, or a name
        that stands for two of the model's classes.
    """
    if tuple(model) == tuple(data):
        return ClassMap(tuple(range(len(model))), (), "")
    _check_ambiguous(model, data)
    known, wanted = _keys(model), _keys(data)
    if len(set(known)) < len(known) or len(set(wanted)) < len(wanted):
        # They differ in what does not count, so it does count here.
        known, wanted = list(model), list(data)
    places = {key: output for output, key in enumerate(known)}
    missing = [i for i, key in enumerate(wanted) if key not in places]
    if missing:
        wanted = set(wanted)
        unseen = [
            n for n, k in zip(model, known, strict=True) if k not in wanted
        ]
        raise ValueError(_explain(model, data, missing, unseen))
    outputs = tuple(places[key] for key in wanted)
    seen = set(outputs)
    absent = tuple(n for i, n in enumerate(model) if i not in seen)
    return ClassMap(outputs, absent, _describe(model, data, outputs))


def _keys(names):
    """Returns what is compared: a WordNet id, or the name in plain letters."""
    ids = imagenet.wordnet_ids()
    # Two of ImageNet's names stand for two classes each; in the list of all,
    # the order tells them apart.
    if tuple(names) == imagenet.class_names():
        return list(ids)
    by_name = _wordnet_ids_by_name()
    plain = [_simplify(name) for name in names]
    return [
        found[0] if len(found := by_name.get(name, ())) == 1 else name
        for name in plain
    ]


def _wordnet_ids_by_name():
    """Returns {plain name: its WordNet ids}."""
    found = collections.defaultdict(list)
    for wordnet_id, name in zip(
        imagenet.wordnet_ids(), imagenet.class_names(), strict=True
    ):
        found[_simplify(name)].append(wordnet_id)
    return found


def _simplify(name):
    text = unicodedata.normalize("NFC", name).casefold()
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def _check_ambiguous(model, data):
    all_of_them = (imagenet.class_names(), imagenet.wordnet_ids())
    if tuple(model) not in all_of_them or tuple(data) in all_of_them:
        return
    by_name = _wordnet_ids_by_name()
    for name in data:
        ids = by_name.get(_simplify(name), ())
        if len(ids) > 1:
            raise ValueError(
                f"The class {name!r} stands for {len(ids)} classes of "
                f"ImageNet; name it by its WordNet id, {' or '.join(ids)}."
            )


def _explain(model, data, missing, unseen):
    known = len(data) - len(missing)
    if not known:
        start = "The data and the model have no class in common"
    else:
        start = (
            f"The model does not know {len(missing)} of the data's "
            f"{len(data)} classes"
        )
    return (
        f"{start}: only the data have {_list([data[i] for i in missing])}; "
        f"only the model has {_list(unseen) or 'none'}."
    )


def _describe(model, data, outputs):
    notes = []
    if len(data) < len(model):
        notes.append(
            f"the data have {len(data):,} of the model's {len(model):,} classes"
        )
    if list(outputs) != sorted(outputs):
        notes.append("in another order")
    respelled = [
        (name, model[output])
        for name, output in zip(data, outputs, strict=True)
        if name != model[output]
    ]
    if respelled:
        ours, theirs = respelled[0]
        notes.append(
            f"{len(respelled):,} named otherwise, such as {ours!r} for "
            f"{theirs!r}"
        )
    return "; ".join(notes)


def _list(names):
    more = len(names) - LISTED
    text = ", ".join(repr(name) for name in names[:LISTED])
    return f"{text} and {more:,} more" if more > 0 else text
