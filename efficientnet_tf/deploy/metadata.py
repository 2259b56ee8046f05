"""What an exported file says of itself: its classes, image preparation, ..."""

import dataclasses
import json
import os
from typing import Annotated, Any

from efficientnet_tf.deploy import formats
from efficientnet_tf.inference import settings as settings_lib
from efficientnet_tf.utils import configs, documents, targets

# A file has the text of `Metadata` under this name.
KEY = "efficientnet_tf"

# The ends of an exported network.
INPUT = "images"
PROBABILITIES = targets.PROBABILITIES
NUMBERS = "numbers"  # As `targets.Outputs` calls them.

# Of a SavedModel: for images, and for the bytes of files.
TENSOR_SIGNATURE = "serving_default"
BYTES_SIGNATURE = "serving_bytes"


@dataclasses.dataclass(frozen=True)
class Metadata(settings_lib.Settings):
    """The settings of a `Classifier`, and the precision of the file.

    `input` says to other programs what the network takes.
    """

    precision: Annotated[str, configs.OneOf(*formats.PRECISIONS)] = "float32"
    input: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of a `Classifier` without its model."""
        return settings_lib.pick_settings(self)


def to_text(settings: settings_lib.Settings, precision: str) -> str:
    """Returns the JSON text that `parse` reads."""
    height, width = settings.size
    metadata = Metadata(
        **dataclasses.asdict(settings),
        precision=precision,
        input=f"RGB, float32 [N, {height}, {width}, 3] in [0, 255]",
    )
    return json.dumps(dataclasses.asdict(metadata))


def parse(text: str | bytes, path: str | os.PathLike) -> Metadata:
    """Returns the metadata of a file.

    Raises:
      untrusted.DamagedError: they are not what `to_text` writes.
    """
    fields = documents.check_object(documents.parse(text, path), {}, path)
    return documents.build(Metadata, fields, path)
