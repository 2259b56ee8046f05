"""Which features of a TFDS set are its image and its class, labels, numbers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from efficientnet_tf.utils import configs, targets, words


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The features that are read: the image, and one or, of numbers, several.

    `names` are those of the classes, labels or numbers, in their order.
    """

    image: str
    features: tuple[str, ...]
    kind: str  # One of `targets.KINDS`.
    names: tuple[str, ...]

    def read(self, row: dict[str, Any]) -> int | tuple:
        """Returns the label of an example: a class, labels or numbers."""
        if self.kind == targets.CLASS:
            return int(row[self.features[0]])
        if self.kind == targets.LABELS:
            return tuple(self.names[i] for i in row[self.features[0]])
        cells = [np.ravel(row[name]) for name in self.features]
        return tuple(float(cell) for cell in np.concatenate(cells))


def find(library: Any, builder: Any, numbers: Sequence[str] = ()) -> Wanted:
    """Returns what is read of a set.

    Numbers that are named; or its class, see `find_class`; or its only sequence
    of classes, which are labels; or the number of its `supervised_keys`.

    Args:
      library: TFDS.
      builder: of the set.
      numbers: names of features.

    Raises:
      ValueError: there are none, or several; the message names the features.
    """
    features = _list_features(library, builder)
    if numbers:
        known = [n for n, f in features.items() if _is_number(library, f)]
        # A network has "box_0", "box_1", ... of a feature "box".
        wanted = dict.fromkeys(
            name if name in known else name.rpartition("_")[0]
            for name in numbers
        )
        found = None
        if all(name in known for name in wanted):
            found = _make_numbers(library, builder, features, tuple(wanted))
        if found is None or tuple(numbers) not in (
            tuple(wanted),
            found.names,
        ):
            other = next((n for n in numbers if n not in known), numbers[0])
            raise ValueError(
                f"--targets: {builder.name}: "
                + configs.unknown("feature of numbers", other, known)
            )
        return found
    try:
        image, label = find_class(library, builder)
    except ValueError:
        labels = [n for n in features if _has_labels(library, features[n])]
        if "labels" in labels:
            labels = ["labels"]
        if len(labels) == 1:
            feature = features[labels[0]].feature
            return Wanted(
                _find_image(library, builder, features),
                tuple(labels),
                targets.LABELS,
                _list_names(feature),
            )
        keys: tuple = builder.info.supervised_keys or ()
        if len(keys) == 2 and _is_number(library, features.get(keys[1])):
            return _make_numbers(library, builder, features, keys[1:])
        raise
    return Wanted(image, (label,), targets.CLASS, _list_names(features[label]))


def find_class(library: Any, builder: Any) -> tuple[str, str]:
    """Returns the names of a set's image and of its class.

    They are the set's `supervised_keys`, or else its only `Image` and its only
    `ClassLabel`.

    Raises:
      ValueError: there are none, or several; the message names the features.
    """
    features = _list_features(library, builder)
    kinds = (library.features.Image, library.features.ClassLabel)
    own: tuple = builder.info.supervised_keys or ()
    if len(own) == 2 and all(
        isinstance(key, str) and isinstance(features.get(key), kind)
        for key, kind in zip(own, kinds, strict=True)
    ):
        return own[0], own[1]
    # TFDS's own names of them, where a mask or a coarser class stands beside.
    found = []
    for usual, kind in zip(("image", "label"), kinds, strict=True):
        names = [n for n in features if isinstance(features[n], kind)]
        if usual in names:
            names = [usual]
        if len(names) != 1:
            seen = ", ".join(
                f"{n} ({type(features[n]).__name__})" for n in features
            )
            raise ValueError(
                f"{builder.name} has {words.count(len(names), 'feature')} of "
                f"the kind {kind.__name__}; choose a data set of images with "
                f"one class each. Its features are {seen or 'unknown'}."
            )
        found.append(names[0])
    return found[0], found[1]


def _find_image(library, builder, features):
    images = [
        n for n, f in features.items() if isinstance(f, library.features.Image)
    ]
    if "image" in images:
        return "image"
    if len(images) != 1:
        raise ValueError(
            f"{builder.name} has {words.count(len(images), 'feature')} of the "
            "kind Image; choose a data set with one image an example."
        )
    return images[0]


def _list_features(library, builder):
    features = builder.info.features
    # Of a set that is no table, another kind of feature.
    is_table = isinstance(features, library.features.FeaturesDict)
    return dict(features.items()) if is_table else {}


def _make_numbers(library, builder, features, wanted):
    names = []
    for name in wanted:
        sizes = features[name].shape
        names += [f"{name}_{i}" for i in range(sizes[0])] if sizes else [name]
    image = _find_image(library, builder, features)
    return Wanted(image, tuple(wanted), targets.NUMBERS, tuple(names))


def _is_number(library, feature):
    """Whether a feature is a number, or so many in every example."""
    kinds = library.features.ClassLabel, library.features.Image
    if not isinstance(feature, library.features.Tensor) or isinstance(
        feature, kinds
    ):
        return False
    shape = feature.shape
    known = len(shape) == 0 or (len(shape) == 1 and bool(shape[0]))
    return known and np.issubdtype(feature.np_dtype, np.number)


def _has_labels(library, feature):
    return isinstance(feature, library.features.Sequence) and isinstance(
        feature.feature, library.features.ClassLabel
    )


def _list_names(feature):
    return tuple(feature.int2str(i) for i in range(feature.num_classes))
