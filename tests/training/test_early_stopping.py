import json
import types

import pytest

from efficientnet_tf.training import early_stopping


def write(path, scores, name="val_top1"):
    rows = [
        {"epoch": i + 1, "seconds": 1.0, name: score}
        for i, score in enumerate(scores)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return rows


@pytest.mark.parametrize(
    "scores,over",
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.4, 0.4], True),
        ([0.5, 0.4, 0.6], False),
        # An equal score is no better one.
        ([0.5, 0.5, 0.5], True),
        ([0.1, 0.2, 0.3, 0.2, 0.3], True),
        ([0.1, 0.2, 0.3, 0.2, 0.31], False),
    ],
)
def test_training_ends_after_epochs_without_a_better_score(
    tmp_path, scores, over
):
    path = tmp_path / "metrics.jsonl"
    write(path, scores)
    stopper = early_stopping.EarlyStopping(2, "val_top1", path)
    assert stopper.is_over == over
    stopper.set_model(types.SimpleNamespace(stop_training=False))
    stopper.on_epoch_end(len(scores))
    assert stopper.model.stop_training == over


def test_an_epoch_that_was_repeated_counts_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, [0.5, 0.4])
    with path.open("a") as file:
        again = {"epoch": 2, "seconds": 1.0, "val_top1": 0.4}
        file.write(json.dumps(again) + "\n")
    assert not early_stopping.EarlyStopping(2, "val_top1", path).is_over
    assert not early_stopping.EarlyStopping(1, "other", path).is_over
    assert not early_stopping.EarlyStopping(1, "x", tmp_path / "no").is_over
