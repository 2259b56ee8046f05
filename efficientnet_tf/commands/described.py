"""What a model card is told of a classifier: its run, or its weights."""

import pathlib
import typing

from efficientnet_tf.utils import run_folder

if typing.TYPE_CHECKING:
    from efficientnet_tf.deploy import card


def of_run(
    workdir: str, license: str | None = None, repository: str = ""
) -> "card.About":
    """Returns what is known of a run, or of a classifier in a folder.

    Args:
      workdir: its folder.
      license: that was chosen, or None.
      repository: USER/NAME on the hub, or "".

    Raises:
      OSError, ValueError: a file of the run is damaged.
    """
    from efficientnet_tf.deploy import card
    from efficientnet_tf.models import registry
    from efficientnet_tf.weights import origins

    folder = pathlib.Path(workdir).expanduser()
    path = folder / run_folder.CONFIG_FILE
    config = run_folder.read_config(path) if path.exists() else {}
    row = run_folder.last_result(folder) or {}
    model = config.get("model", "")
    known = model in registry.list_models()
    origin = None
    if config:
        # `train` begins with random weights, and names none.
        origin = origins.describe(model, config.get("weights"))
    return card.About(
        model if known or not config else "a variant of its own",
        origin,
        config,
        row,
        _find_intervals(row),
        license,
        repository,
    )


def of_weights(
    model: str, weights: str | None, license: str | None = None
) -> "card.About":
    """Returns what is known of a network by --model and --weights."""
    from efficientnet_tf.deploy import card
    from efficientnet_tf.models import registry
    from efficientnet_tf.weights import origins

    known = model in registry.list_models()
    return card.About(
        model if known else "a variant of its own",
        origins.describe(model, weights),
        license=license,
    )


def _find_intervals(row):
    """Returns {metric: its interval} of a run's row."""
    from efficientnet_tf.utils import intervals
    from transfer.report import results

    images = row.get("test_images")
    found = {
        name: intervals.wilson(row[key], images)
        for name, key in (
            ("top1", "ema_top1" if "ema_top1" in row else "top1"),
            ("top5", "ema_top5" if "ema_top5" in row else "top5"),
        )
        if images and isinstance(row.get(key), float)
    }
    for name in {"mean_per_class", row.get("metric")} - {None}:
        value = row.get(name)
        if isinstance(value, float) and name not in found:
            interval = results.find_interval([{**row, "metric": name}], value)
            # Of classes without a mistake, the bootstrap draws none.
            if interval is not None and interval[0] < interval[1]:
                found[name] = interval
    return found
