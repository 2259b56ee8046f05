"""What TensorBoard itself shows of runs: its runs, their charts and order."""

import pytest
import tensorflow as tf

from efficientnet_tf.training import summaries

multiplexers = pytest.importorskip(
    "tensorboard.backend.event_processing.plugin_event_multiplexer"
)

LOGS = {
    "learning_rate": 0.1,
    "loss": 2.0,
    "top1": 0.5,
    "images_per_second": 9.0,
    "val_loss": 1.5,
    "val_top1": 0.25,
    "val_ema_top1": 0.75,
}


def write(folder, logs=LOGS, epochs=2):
    """Writes what a run of some epochs does, its final score after them."""
    folder.mkdir(parents=True)
    with summaries.writing(folder, {"seed": 0}):
        tf.summary.image(summaries.tag("augmented"), tf.zeros((1, 2, 2, 3)))
        for epoch in range(epochs):
            summaries.Curves().on_epoch_end(epoch, logs)
        tf.summary.scalar(summaries.tag("top1", "test"), 0.625)


def read(folder):
    """Returns TensorBoard's {run: {name: [(step, value)] of scalars}}."""
    board = multiplexers.EventMultiplexer()
    board.AddRunsFromDirectory(str(folder)).Reload()
    found = {}
    for run, tags in board.Runs().items():
        found[run] = {}
        for tag in tags["tensors"]:
            plugin = board.SummaryMetadata(run, tag).plugin_data.plugin_name
            events = board.Tensors(run, tag) if plugin == "scalars" else ()
            found[run][tag] = [
                (e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events
            ]
    return found


def test_a_run_is_one_run_and_its_charts_begin_with_the_accuracy(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name)
    found = read(tmp_path)
    assert sorted(found) == ["a/tensorboard", "b/tensorboard"]
    tags = found["a/tensorboard"]
    assert tags.pop("config") == tags["images/augmented"] == []
    assert list(sorted(tags)) == [
        "accuracy/top1_test",
        "accuracy/top1_train",
        "accuracy/top1_validation",
        "accuracy/top1_validation_average",
        "images/augmented",
        "loss/loss_train",
        "loss/loss_validation",
        "training/images_per_second",
        "training/learning_rate",
    ]
    assert tags["accuracy/top1_validation"] == [(1, 0.25), (2, 0.25)]
    assert tags["accuracy/top1_test"] == [(0, 0.625)]
    assert tags["loss/loss_train"] == [(1, 2.0), (2, 2.0)]


@pytest.mark.parametrize("score", ["map", "r2"])
def test_the_score_of_labels_and_of_numbers_is_first(tmp_path, score):
    write(tmp_path / "a", {**LOGS, score: 0.5, f"val_{score}": 0.5})
    tags = set(read(tmp_path)["a/tensorboard"]) - {"config"}
    tags = [tag for tag in tags if not tag.startswith("accuracy/")]
    assert min(tags).endswith(f"/{score}_train")


def test_a_resumed_run_is_one_run_with_all_its_epochs(tmp_path):
    write(tmp_path / "a", epochs=1)
    with summaries.writing(tmp_path / "a", {"seed": 0}):
        summaries.Curves().on_epoch_end(1, LOGS)
    (tags,) = read(tmp_path).values()
    assert tags["loss/loss_train"] == [(1, 2.0), (2, 2.0)]


def test_what_is_only_compared_is_not_shown(tmp_path):
    (tmp_path / "a").mkdir()
    with summaries.writing(tmp_path / "a", {}), tf.summary.record_if(False):
        summaries.Curves().on_epoch_end(0, LOGS)
    assert read(tmp_path) == {"a/tensorboard": {"config": []}}


def test_every_score_that_a_training_logs_has_a_group():
    from efficientnet_tf.training import progress

    scores = set(progress.SHOWN) - {"images_per_second", "learning_rate"}
    groups = {name: summaries.tag_log(name).split("/")[0] for name in scores}
    assert summaries.OTHERS not in groups.values(), groups
