"""A network and a recipe for people who do not want to choose."""

import dataclasses

from efficientnet_tf.utils import configs


@dataclasses.dataclass(frozen=True)
class Preset:
    """What `--preset` stands for; accuracy and minutes are in docs/RESULTS.md.

    `model` is of those whose ImageNet weights need no download.
    """

    model: str
    recipe: str


PRESETS = {
    # Seconds to minutes.
    "fast": Preset("efficientnet_lite0", "linear"),
    # Never worse than fast by more than chance.
    "good": Preset("efficientnet_lite0", "auto"),
    "best": Preset("efficientnet_lite2", "full"),
}


def get_preset(name: str) -> Preset:
    """Returns a row of `PRESETS`.

    Raises:
      ValueError: there is none of this name.
    """
    if name not in PRESETS:
        raise ValueError(configs.unknown("preset", name, PRESETS))
    return PRESETS[name]
