"""Whether weights and a network go together: head, padding, normalization."""

import os
from collections.abc import Mapping

import keras
import numpy as np
from absl import logging

from efficientnet_tf.models import layers, variants
from efficientnet_tf.weights import name_maps


def fits_head(
    network: keras.Model,
    arrays: Mapping[str, np.ndarray],
    label: str | os.PathLike,
    *,
    random_head: bool,
) -> bool:
    """Whether arrays have a head for the network's number of classes.

    Args:
      network: has a layer "predictions".
      arrays: {"layer/weight": array}.
      label: what messages call the arrays.
      random_head: whether it may start from random weights, which is logged.

    Raises:
      ValueError: it may not, and the arrays have no such head.
    """
    classes = network.get_layer("predictions").units
    kernel = arrays.get("predictions/kernel")
    if kernel is not None and kernel.shape[-1] == classes:
        return True
    found = "no classifier head"
    if kernel is not None:
        found = f"a classifier head for {kernel.shape[-1]} classes"
    if not random_head:
        raise ValueError(
            f"{label} has {found}, but one for {classes} classes is needed: a "
            "random one would predict nonsense. Fine-tune it, or name the run "
            "that it is from (--workdir), which names its own classes."
        )
    logging.info(
        "%s has %s; this network's head for %d classes starts from random "
        "weights.",
        label,
        found,
        classes,
    )
    return False


def check_padding(network: keras.Model, wanted: str) -> None:
    """Raises ValueError unless a network pads as its weights need it."""
    names = {layer.name for layer in network.layers}
    found = "symmetric" if layers.STEM_PADDING in names else "same"
    if found != wanted:
        raise ValueError(
            f"The weights were trained with padding={wanted!r}, but "
            f"{network.name} has {found!r}; build it with `loading.build_for`."
        )


def log_origin(
    checkpoint: name_maps.Checkpoint,
    label: str | os.PathLike,
    chosen: str | variants.Normalization | None,
) -> None:
    """Says whose weights these are, and what is not certain of them.

    Args:
      checkpoint: the weights.
      label: what messages call them.
      chosen: the normalization that the caller wants in place of theirs.
    """
    found = variants.name_normalization(checkpoint.normalization)
    note = checkpoint.normalization_note
    parts = [checkpoint.source]
    if chosen is None and note:
        parts.append(
            f"normalization {found} ({note}; --normalization or normalization= "
            "sets another)"
        )
    elif chosen is None and checkpoint.source:
        parts.append(f"normalization {found}")
    elif chosen is not None and not note:
        name = variants.name_normalization(variants.get_normalization(chosen))
        if name != found:
            parts.append(
                f"normalization {name} as you chose, though the weights had "
                f"{found}"
            )
    if any(parts):
        logging.info("%s: %s.", label, "; ".join(filter(None, parts)))
