"""Even parts of images: each class alike in all of them, groups whole."""

import warnings
from collections.abc import Sequence

import numpy as np

# Numbers are spread by ranges of the first of them.
MOST_RANGES = 10


def find_strata(labels: np.ndarray, parts: int) -> np.ndarray:
    """Returns what is to be spread evenly, int [N].

    Of classes [N], the class. Of several labels an image, 0 or 1 [N, names],
    its rarest one: common ones are spread by chance, rare ones are not.

    Args:
      labels: of the images.
      parts: of how many; ranges of numbers [N, names] have as many images.
    """
    labels = np.asarray(labels)
    if labels.ndim == 1:
        return labels.astype(int)
    if not np.isin(labels, (0, 1)).all():
        return _find_ranges(labels[:, 0], parts)
    counts = labels.sum(axis=0)
    rarity = np.where(labels > 0, counts, np.inf)
    return np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])


def divide(
    strata: np.ndarray, groups: Sequence[str], parts: int, seed: int
) -> np.ndarray:
    """Returns the part of each image, int [N], by scikit-learn.

    Args:
      strata: of `find_strata`.
      groups: images of one group are in one part.
      parts: how many, at most as many as the largest stratum has images.
      seed: of the order in which images are dealt.
    """
    from sklearn import model_selection

    # With a group for each image, StratifiedKFold is exact, and fast.
    own = len(set(groups)) == len(groups)
    kind = "StratifiedKFold" if own else "StratifiedGroupKFold"
    divider = getattr(model_selection, kind)(
        parts, shuffle=True, random_state=seed
    )
    found = np.zeros(len(strata), int)
    with warnings.catch_warnings():
        # That a stratum is smaller: not every part can have an image of it.
        warnings.simplefilter("ignore", UserWarning)
        pairs = divider.split(np.zeros(len(strata)), strata, groups)
        for part, (_, places) in enumerate(pairs):
            found[places] = part
    return found


def _find_ranges(numbers, parts):
    ranges = max(1, min(MOST_RANGES, len(numbers) // parts))
    ranks = np.empty(len(numbers), int)
    ranks[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
    return ranks * ranges // len(numbers)
