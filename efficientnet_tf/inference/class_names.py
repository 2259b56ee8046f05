"""Which output of a classifier belongs to which class of a data set."""

import collections
import dataclasses
import re
import string
import unicodedata
from collections.abc import Sequence

from efficientnet_tf.data import imagenet
from efficientnet_tf.utils import words

# How many names a message lists of each side.
LISTED = 5

_WORDNET_ID = re.compile(r"(?<!\w)n\d{8}(?!\w)")
# A hyphen between letters or digits, of any script; any other is a minus, as in
# "-30" and "A-".
_HYPHEN = re.compile(
    "(?<=[^\\s{0}])-(?=[^\\s{0}])".format(re.escape(string.punctuation))
)


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
    where the names stay different without them, but signs do: "-30" is not
    "30". A WordNet id, alone or beside a name as in "n01440764-tench", is the
    same as ImageNet's name for it.

    Args:
      model: the class names of a classifier, in the order of its outputs.
      data: the class names of a data set, in the order of its labels; any
        subset of the model's, in any order.

    Raises:
      ValueError: the data have a class that the model does not have, a name
        that stands for two of the model's classes, or two names for one.
    """
    if tuple(model) == tuple(data):
        return ClassMap(tuple(range(len(model))), (), "")
    _check_ambiguous(model, data)
    # Beside a plus, a hyphen is a minus wherever it stands: "yaw+30, yaw-30".
    signed = any("+" in name for name in (*model, *data))
    fold = _fold if signed else _simplify
    known, wanted = _keys(model, fold), _keys(data, fold)
    places = collections.defaultdict(list)
    for output, key in enumerate(known):
        places[key].append(output)
    missing = [i for i, key in enumerate(wanted) if key not in places]
    if missing:
        unseen = [
            n for n, k in zip(model, known, strict=True) if k not in set(wanted)
        ]
        raise ValueError(_explain(model, data, missing, unseen))
    outputs = tuple(
        _choose(name, places[key], model)
        for name, key in zip(data, wanted, strict=True)
    )
    _check_distinct(model, data, outputs)
    seen = set(outputs)
    absent = tuple(n for i, n in enumerate(model) if i not in seen)
    return ClassMap(outputs, absent, _describe(model, data, outputs))


def _keys(names, fold):
    """Returns what is compared: a WordNet id, or the name in plain letters."""
    ids = imagenet.wordnet_ids()
    # Two of ImageNet's names stand for two classes each; in the list of all,
    # the order tells them apart.
    if tuple(names) == imagenet.class_names():
        return list(ids)
    by_name = _wordnet_ids_by_name()
    return [_find_wordnet_id(name, by_name) or fold(name) for name in names]


def _wordnet_ids_by_name():
    """Returns {plain name: its WordNet ids}."""
    found = collections.defaultdict(list)
    for wordnet_id, name in zip(
        imagenet.wordnet_ids(), imagenet.class_names(), strict=True
    ):
        found[_simplify(name)].append(wordnet_id)
    return found


def _find_wordnet_id(name, by_name):
    """Returns the id that a name is, has in it, or stands for; or None."""
    plain = _simplify(name)
    match = _WORDNET_ID.search(plain)
    if match is None or match[0] not in imagenet.wordnet_ids():
        ids = by_name.get(plain, ())
        return ids[0] if len(ids) == 1 else None
    rest = (plain[: match.start()] + plain[match.end() :]).strip(" .,:()")
    # "n01440764-goldfish" contradicts itself.
    return match[0] if match[0] in by_name.get(rest, match[0]) else None


def _fold(name):
    """Returns a name in small letters, with spaces for underscores."""
    text = unicodedata.normalize("NFC", name).casefold().strip()
    return re.sub(r"[\s_]+", " ", text)


def _simplify(name):
    """Returns `_fold`'s name with spaces for hyphens, but not for a minus."""
    return _HYPHEN.sub(" ", _fold(name))


def _choose(name, outputs, model):
    """Returns the one of the outputs whose name is meant."""
    if len(outputs) > 1:
        # They differ in what does not count, so it does count here.
        same = [output for output in outputs if model[output] == name]
        if len(same) != 1:
            raise ValueError(
                f"The class {name!r} stands for {len(outputs)} of the model's: "
                f"{_list([model[output] for output in outputs])}; name it as "
                "the one that is meant."
            )
        outputs = same
    return outputs[0]


def _check_distinct(model, data, outputs):
    """Raises ValueError if two of the data's classes are one of the model's."""
    first: dict[int, str] = {}
    for name, output in zip(data, outputs, strict=True):
        other = first.setdefault(output, name)
        if other != name:
            raise ValueError(
                f"The data's classes {other!r} and {name!r} are one class of "
                f"the model's, {model[output]!r}: join them, or rename one."
            )


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
            f"{words.count(len(data), 'class')}"
        )
    return (
        f"{start}: only the data have {_list([data[i] for i in missing])}; "
        f"only the model has {_list(unseen) or 'none'}."
        + _explain_signs(model, [data[i] for i in missing])
    )


def _explain_signs(model, names):
    """Returns a sentence on a name that is the model's but for its signs."""
    plain = {re.sub(r"[\s_+-]", "", _fold(name)): name for name in model}
    for name in names:
        other = plain.get(re.sub(r"[\s_+-]", "", _fold(name)))
        if other is not None:
            return f" {name!r} is not {other!r}: signs and spaces count."
    return ""


def _describe(model, data, outputs):
    notes = []
    if len(data) < len(model):
        notes.append(
            f"the data have {len(data):,} of the model's "
            f"{words.count(len(model), 'class')}"
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
