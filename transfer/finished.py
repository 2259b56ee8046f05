"""A finished run in use again: its setup, the features of its images."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import configs, documents, run_folder
from transfer.choice import auto
from transfer.config import finetune_config, tasks
from transfer.scores import image_names
from transfer.training import fitting, frozen_features, starts

# All of their features are in memory: 1 GB of Lite0's. Of more, images from all
# over the set.
MOST_IMAGES = 200_000


@dataclasses.dataclass(frozen=True)
class Trained:
    """The images that a run was trained on, and their features.

    `names`, `features` float32 [N, C] and `labels` [N] have the order of
    `examples`; `left_out` counts further images.
    """

    examples: examples_lib.Examples
    names: tuple[str, ...]
    features: np.ndarray
    labels: np.ndarray
    left_out: int


def restore_setup(
    workdir: str | os.PathLike,
    fields: Mapping[str, Any],
    examples: Mapping[str, examples_lib.Examples],
) -> fitting.Setup:
    """Returns the setup that a finished fine-tuning run was trained with.

    Args:
      workdir: the run's folder.
      fields: of its `run_folder.CONFIG_FILE`.
      examples: {split: its images}.

    Raises:
      untrusted.DamagedError: a file of the run is damaged.
    """
    workdir = pathlib.Path(workdir)
    schema = finetune_config.FinetuneConfig
    names = set(configs.field_names(schema)) & set(fields)
    own = {name: fields[name] for name in names}
    # A run of an earlier version lacks later fields.
    config = documents.build(
        schema,
        configs.list_defaults(schema) | own,
        workdir / run_folder.CONFIG_FILE,
    )
    choice = workdir / auto.CHOICE_FILE
    if config.rule == "auto" and choice.exists():
        config, _ = auto.read_choice(choice)
    origin = ("weights", "source_family", "normalization")
    return fitting.Setup(
        tasks.get_task(fields["task"]),
        starts.Start(workdir, dict(fields), {}).model,
        {name: fields.get(name) for name in origin},
        config,
        examples,
        workdir,
    )


def embed_trained(
    workdir: str | os.PathLike,
    fields: Mapping[str, Any],
    loaded: Mapping[str, examples_lib.Examples],
    classifier: classifier_lib.Classifier,
) -> Trained:
    """Returns the images that a run was trained on, with their features.

    Features that the run left in the cache are taken from there.

    Args:
      workdir: the run's folder.
      fields: of its `run_folder.CONFIG_FILE`.
      loaded: {split: its images}.
      classifier: the run's.
    """
    key, precision, splits = "", "", ["train"]
    if "task" in fields:  # Not from scratch.
        setup = restore_setup(workdir, fields, loaded)
        key, precision = fitting.cache_key(setup), setup.config.precision
        splits = setup.config.train_on.split("+")
    parts = [loaded[split] for split in splits]
    total = sum(part.size for part in parts)
    if total > MOST_IMAGES:
        parts = [
            part.hold_out(max(1, part.size * MOST_IMAGES // total))[1]
            for part in parts
        ]
    pairs = [
        frozen_features.extract_split(classifier, part, precision, key, split)
        for part, split in zip(parts, splits, strict=True)
    ]
    examples = parts[0] if len(parts) == 1 else parts[0].concatenate(parts[1])
    if examples.size < total:
        logging.warning("Of %d images %d are looked at.", total, examples.size)
    found = frozen_features.concatenate(pairs)
    return Trained(
        examples,
        image_names.list_paths(examples),
        found.features,
        found.labels,
        left_out=total - examples.size,
    )
