"""How much each class, and each image, counts in a training."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from efficientnet_tf.utils import configs

NONE, AUTO = "none", "auto"
SHUFFLED, BALANCED = "shuffled", "balanced"

# "cat=2", and more after commas; names may have these characters, too.
_WEIGHT = re.compile(r"(.+?)=(\d+\.?\d*(?:e[+-]?\d+)?)(?:,|$)", re.DOTALL)
# {name of an earlier version: of this one}.
_FORMER = {"balanced": AUTO}


def parse(text: str) -> dict[str, float] | None:
    """Returns {class name: weight}; None of "none" and "auto".

    Raises:
      ValueError: it is neither these nor "NAME=WEIGHT,...".
    """
    if text in (NONE, AUTO):
        return None
    weights: dict[str, float] = {}
    end = 0
    while match := _WEIGHT.match(text, end):
        if match[1] in weights:
            raise ValueError(f"class_weight={text} names {match[1]!r} twice.")
        weights[match[1]] = float(match[2])
        end = match.end()
    if not weights or end < len(text) or text.endswith(","):
        message = configs.unknown(
            "class_weight",
            text,
            (NONE, AUTO),
            otherwise="NAME=WEIGHT,..., such as cat=2,dog=0.5",
        )
        # What scikit-learn and Keras users write.
        if text.lower() in ("balanced", "true"):
            message += f" Write class_weight={AUTO}."
        raise ValueError(message)
    for name, weight in weights.items():
        configs.check_number(f"class_weight of {name!r}", weight)
        if not weight:
            raise ValueError(
                f"class_weight={text}: that of {name!r} must be above 0; leave "
                "out the images of a class that is not to be learned."
            )
    return weights


def upgrade(fields: Mapping) -> dict:
    """Returns the fields of a config with the present name and values."""
    fields = dict(fields)
    former = fields.pop("class_weights", None)
    if former is not None:
        fields["class_weight"] = _FORMER.get(former, former)
    return fields


@dataclasses.dataclass(frozen=True)
class Weighing:
    """What classes count, and whether each is drawn equally often."""

    class_names: tuple[str, ...] = ()
    class_weight: str = NONE  # See `parse`.
    sampling: str = SHUFFLED

    def __post_init__(self):
        for name in parse(self.class_weight) or ():
            if name not in self.class_names:
                raise ValueError(
                    configs.unknown(
                        "class in class_weight", name, self.class_names
                    )
                )

    def weigh(
        self, labels: np.ndarray, own: np.ndarray | None = None
    ) -> np.ndarray | None:
        """Returns the weight of each image [N], whose mean is 1; None: all 1.

        "auto" is scikit-learn's "balanced": a class's weight is the inverse of
        the sum of its images'. Where there is no drawing, balanced sampling is
        the same. Classes that are not named weigh 1.

        Args:
          labels: [N].
          own: the images' own weights [N]; None: all are 1.

        Raises:
          ValueError: all weights are 0.
        """
        named = parse(self.class_weight)
        balances = self.class_weight == AUTO or self.sampling == BALANCED
        if own is None and named is None and not balances:
            return None
        weights = np.ones(len(labels)) if own is None else own.astype(float)
        if not weights.any():
            raise ValueError("All images to train on have weight 0.")
        if balances:
            sums = np.bincount(labels, weights)
            weights = weights / np.where(sums > 0, sums, 1)[labels]
        if named is not None:
            of_class = [named.get(name, 1) for name in self.class_names]
            weights = weights * np.array(of_class)[labels]
        return (weights / weights.mean()).astype("float32")


# All count alike.
ALIKE = Weighing()
