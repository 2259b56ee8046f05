"""Where a classifier starts from: noise, zeros, or a logistic regression."""

import time

import tensorflow as tf
from absl import logging

from efficientnet_tf.utils import files
from transfer import inputs, linear_features

# Of the linear classifier that a run started from: the inverse strength "C" of
# its penalty, its "validation_top1" before it saw those images, and when it was
# "finished", as `time.time()` has it.
LINEAR_HEAD_FILE = "linear_head.json"


def start(result, examples, config, cache_key, workdir):
    """Sets a network's classifier to what `config.head` says.

    Args:
      result: a `classifier.Classifier` that is yet to be trained.
      examples: {split: `examples.Examples`}.
      config: a `recipes.FinetuneConfig` without a rule.
      cache_key: of the network's weights, for the cache of features.
      workdir: where LINEAR_HEAD_FILE is written.
    """
    head = result.model.get_layer("predictions")
    if config.head == "zero":
        head.set_weights([0 * value for value in head.get_weights()])
    if config.head != "linear":
        return
    classes = len(result.class_names)
    settings = (result.resolution, result.interpolation, result.crop_padding)
    pairs = {}
    for split in ("train", "validation"):
        part = examples[split]
        logging.info("Features of %d %s images.", part.size, split)
        dataset = inputs.make_eval_dataset(part, result)
        key = f"{cache_key}:{settings}:{config.precision}:{part.fingerprint}"
        pairs[split] = linear_features.extract(result.model, dataset, key)
    kernel, bias, strength, accuracy = linear_features.fit_classifier(
        pairs["train"], pairs["validation"], classes, config.l2_sweep
    )
    logging.info(
        "Linear head: C=%g, validation top-1 %.4f.", strength, accuracy
    )
    tf.summary.scalar("linear_head/validation_top1", accuracy)
    files.write_json(
        workdir / LINEAR_HEAD_FILE,
        {
            "C": strength,
            "validation_top1": float(accuracy),
            "finished": time.time(),
        },
    )
    if config.train_on == "train+validation":
        logging.info("Fitted once more, on the validation images too.")
        kernel, bias = linear_features.refit_classifier(
            linear_features.concatenate(pairs.values()), classes, strength
        )
    head.set_weights([kernel, bias])
