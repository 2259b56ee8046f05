"""What training minimizes and is watched by, for classes, labels, numbers."""

import keras

from efficientnet_tf.training import losses
from efficientnet_tf.utils import targets
from transfer.config import recipes


def make_loss(
    config: recipes.FinetuneConfig, target: str
) -> keras.losses.Loss | None:
    """Returns the loss of labels or numbers; None: the cross-entropy."""
    # The padding of an evaluation's last batch has weight 0.
    options = {"reduction": "mean_with_sample_weight"}
    if target == targets.CLASS:
        return None
    if target == targets.LABELS:
        if config.loss == "asymmetric":
            return losses.AsymmetricLoss(**options)
        return keras.losses.BinaryCrossentropy(
            label_smoothing=config.label_smoothing, **options
        )
    if config.loss == "squared":
        return keras.losses.MeanSquaredError(**options)
    return keras.losses.Huber(**options)


def make_metric(network: keras.Model, target: str) -> keras.metrics.Metric:
    """Returns what is watched while training; the score is computed exactly."""
    if target == targets.LABELS:
        # By 200 thresholds, because of all images there is no room.
        return keras.metrics.AUC(
            curve="PR",
            multi_label=True,
            num_labels=network.output_shape[-1],
            name=targets.METRICS[target],
        )
    if target == targets.NUMBERS:
        return keras.metrics.R2Score(name=targets.METRICS[target])
    return keras.metrics.CategoricalAccuracy("top1")


def name_score(config: recipes.FinetuneConfig, target: str) -> str | None:
    """Returns what ranks epochs; None where the last one is taken."""
    if not config.patience:
        return None
    metric = targets.METRICS.get(target, "top1")
    return f"val_ema_{metric}" if config.ema_decay else f"val_{metric}"
