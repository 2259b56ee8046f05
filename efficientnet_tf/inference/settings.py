"""What a classifier is besides its network, and the file that holds it."""

import dataclasses
import os
from typing import Annotated, Any

from efficientnet_tf.data import shapes
from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs, documents, targets


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a file of settings holds: a `Classifier` without its model."""

    class_names: tuple[str, ...]
    resolution: Annotated[int, configs.AtLeast(1, variants.MAX_SIZE)]
    interpolation: Annotated[str, configs.OneOf(*variants.INTERPOLATIONS)]
    crop_padding: Annotated[
        int | None, configs.AtLeast(0, variants.MAX_SIZE)
    ] = shapes.CROP_PADDING
    # Earlier versions had no such field.
    deep_pixels: Annotated[str, configs.OneOf(*policies.DEEP_PIXELS)] = "used"
    # By which the head's weights have been divided, see `transfer.held_out`.
    temperature: Annotated[float, configs.Above(0)] = 1.0
    # What the network answers with: see `targets`. Of labels and numbers,
    # `class_names` are their names.
    target: Annotated[str, configs.OneOf(*targets.KINDS)] = targets.CLASS
    # Of labels: from which probability on an image has each; none: 0.5.
    thresholds: Annotated[tuple[float, ...], configs.Fraction()] = ()
    # Earlier versions had neither of these. See `shapes.Preparation`.
    resize: Annotated[str, configs.OneOf(*shapes.RESIZES)] = shapes.CROP
    # Of an input that is no square, whose height is `resolution`.
    width: Annotated[int | None, configs.AtLeast(1, variants.MAX_SIZE)] = None

    def __post_init__(self):
        configs.check(self)
        settle(self)
        if len(self.thresholds) not in (0, len(self.class_names)):
            raise ValueError(
                f"thresholds={list(self.thresholds)} must have one for each of "
                f"the {len(self.class_names)} class_names."
            )
        if not self.class_names:
            raise ValueError("class_names=[] must name at least one class.")

    @property
    def preparation(self) -> shapes.Preparation:
        """What is done to an image before the network gets it."""
        return get_preparation(self)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input, in pixels."""
        return self.preparation.size


def pick_settings(holder: Any) -> dict[str, Any]:
    """Returns those attributes of an object that are fields of `Settings`."""
    names = [field.name for field in dataclasses.fields(Settings)]
    return {name: getattr(holder, name) for name in names}


def get_preparation(holder: Any) -> shapes.Preparation:
    """Returns what a holder of `Settings`'s fields says of images."""
    return shapes.Preparation(
        holder.resolution,
        holder.width or holder.resolution,
        holder.interpolation,
        holder.resize,
        holder.crop_padding,
        holder.deep_pixels,
    )


def settle(holder: Any) -> None:
    """Writes one and the same shape of images in one and the same way."""
    resize, padding = shapes.settle(holder.resize, holder.crop_padding)
    width = None if holder.width == holder.resolution else holder.width
    for name, value in (
        ("resize", resize),
        ("crop_padding", padding),
        ("width", width),
    ):
        object.__setattr__(holder, name, value)


def read_settings(path: str | os.PathLike) -> Settings:
    """Returns what `run_folder.SETTINGS_FILE` says.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is damaged.
    """
    return documents.read(path, Settings)
