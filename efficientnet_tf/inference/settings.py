"""What a classifier's file of settings says: classes, image preparation, ..."""

import dataclasses
import os
from typing import Annotated, Any

from efficientnet_tf.data import numpy_preprocessing
from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs, documents, targets


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a classifier's file of settings holds: all but its model."""

    class_names: tuple[str, ...]
    resolution: Annotated[int, configs.AtLeast(1, variants.MAX_SIZE)]
    interpolation: Annotated[str, configs.OneOf(*variants.INTERPOLATIONS)]
    crop_padding: Annotated[
        int | None, configs.AtLeast(0, variants.MAX_SIZE)
    ] = numpy_preprocessing.CROP_PADDING
    # Earlier versions had no such field.
    deep_pixels: Annotated[str, configs.OneOf(*policies.DEEP_PIXELS)] = "used"
    # By which the head's weights have been divided, see `transfer.held_out`.
    temperature: Annotated[float, configs.Above(0)] = 1.0
    # What the network answers with: see `targets`. Of labels and numbers,
    # `class_names` are their names.
    target: Annotated[str, configs.OneOf(*targets.KINDS)] = targets.CLASS
    # Of labels: from which probability on an image has each; none: 0.5.
    thresholds: Annotated[tuple[float, ...], configs.Fraction()] = ()

    def __post_init__(self):
        configs.check(self)
        if len(self.thresholds) not in (0, len(self.class_names)):
            raise ValueError(
                f"thresholds={list(self.thresholds)} must have one for each of "
                f"the {len(self.class_names)} class_names."
            )
        if not self.class_names:
            raise ValueError("class_names=[] must name at least one class.")


def pick_settings(holder: Any) -> dict[str, Any]:
    """Returns those attributes of an object that are fields of `Settings`."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return {name: getattr(holder, name) for name in names}


def read_settings(path: str | os.PathLike) -> Settings:
    """Returns what `run_folder.SETTINGS_FILE` says.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is damaged.
    """
    return documents.read(path, Settings)
