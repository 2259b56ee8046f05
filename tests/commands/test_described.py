"""What a model card is told of a run's folder."""

import json

import pytest

from efficientnet_tf.commands import described
from efficientnet_tf.utils import intervals
from efficientnet_tf.weights import origins

ROW = {
    "metric": "mean_per_class",
    "score": 0.75,
    "top1": 0.8,
    "top5": 1.0,
    "mean_per_class": 0.75,
    "test_images": 20,
    "class_names": ["a", "b"],
    "confusion": [[0, 0, 10], [1, 1, 5], [1, 0, 5]],
}


def _write(folder, config, row):
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    return described.of_run(str(folder), "mit", "anna/x")


def test_figures_have_their_intervals(tmp_path):
    config = {"task": "cifar10", "model": "efficientnet_b0", "weights": None}
    about = _write(tmp_path, config, ROW)
    assert about.network == "efficientnet_b0"
    assert about.origin == origins.RANDOM
    assert about.data.title == "CIFAR-10"
    assert (about.license, about.repository) == ("mit", "anna/x")
    found = about.intervals
    assert found["top1"] == intervals.wilson(0.8, 20)
    assert found["top5"] == intervals.wilson(1.0, 20)
    assert found["mean_per_class"] == intervals.bootstrap([1, 0.5], [10, 10])
    # Without a mistake the bootstrap has no width, which would mislead.
    perfect = {**ROW, "mean_per_class": 1.0}
    perfect["confusion"] = [[0, 0, 10], [1, 1, 10]]
    about = _write(tmp_path, config, perfect)
    assert "mean_per_class" not in about.intervals


def test_a_run_from_scratch_has_its_averaged_weights_figures(tmp_path):
    config = {"dataset": "folder:/home/anna/x", "model": "/home/anna/n.json"}
    row = {"top1": 0.5, "ema_top1": 0.6, "test_images": 50}
    about = _write(tmp_path, config, row)
    assert about.network == "a variant of its own"
    assert about.intervals == {"top1": intervals.wilson(0.6, 50)}
    assert about.data.title == "own images"


def test_a_folder_without_a_run_is_not_known(tmp_path):
    about = described.of_run(str(tmp_path))
    assert (about.network, about.origin, about.data) == ("", None, None)
    assert about.intervals == {} and not about.row


@pytest.mark.parametrize(
    "model,weights,network,license",
    [
        ("efficientnet_lite0", "imagenet", "efficientnet_lite0", "apache-2.0"),
        ("efficientnet_b0", None, "efficientnet_b0", "unknown"),
        ("/home/anna/n.json", None, "a variant of its own", "unknown"),
    ],
)
def test_a_network_by_its_weights(model, weights, network, license):
    about = described.of_weights(model, weights)
    assert (about.network, about.named_license) == (network, license)
