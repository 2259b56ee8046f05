import csv
import json

import numpy as np
import pytest

import samples
from efficientnet_tf.commands import trained_on
from efficientnet_tf.data.sets import sources, split_list
from efficientnet_tf.utils import folder_options, run_folder
from transfer import cross_validation
from transfer.config import recipes, tasks
from transfer.report import run_files, run_report
from transfer.scores import predictions

CONFIG = recipes.get_recipe("linear")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    counts = {"a": 9, "b": 7, "c": 6}
    return samples.make_folder(tmp_path_factory.mktemp("photos"), counts, 8)


class Trainer:
    """Writes what a run would: it takes each image for what `say` says."""

    def __init__(self, say, stop_at=None):
        self.say, self.stop_at, self.began = say, stop_at, []

    def __call__(self, folder, options, config):
        self.began.append(folder.name)
        if folder.name == self.stop_at:
            raise KeyboardInterrupt
        rows = [r for r in split_list.read(folder) if r.split == "test"]
        rows.sort(key=lambda row: (row.label, row.path))
        labels = np.array(["abc".index(row.label) for row in rows])
        matrix = np.full((len(rows), 3), 0.1)
        for i, row in enumerate(rows):
            matrix[i, "abc".index(self.say(row))] = 0.8
        names = tuple(row.path.split("/")[1] for row in rows)
        found = predictions.from_matrix(
            matrix.astype("float32"),
            labels,
            predictions.Images(names, np.zeros((0, 32), "uint8")),
        )
        predictions.write(folder / predictions.PREDICTIONS_FILE, found)
        return {
            "task": "folder:photos",
            "model": "tiny",
            "weights": "imagenet",
            "recipe": "linear",
            "changed": {},
            "seed": 0,
            "metric": "top1",
            "class_names": ["a", "b", "c"],
            "score": float(found.hits.mean()),
            "train_images": 14,
            "test_images": len(rows),
            "seconds": 1.0,
            "epochs": 0,
            "resolution": 224 if folder.name == "fold0" else 160,
        }


def list_tested(workdir, fold):
    rows = split_list.read(workdir / run_folder.name_fold(fold))
    return [row for row in rows if row.split == "test"]


def run(train, photos, workdir, folds=3, config=CONFIG):
    task = tasks.get_task(f"folder:{photos}")
    described = {"recipe": "linear", "model": "tiny", "weights": "imagenet"}
    return cross_validation.run(
        train, task, config, workdir, folds=folds, described=described
    )


def test_all_images_are_scored_at_once_and_named(photos, tmp_path):
    # All of "a", and one of "b", are right.
    right = ("a", "b/003")
    train = Trainer(lambda r: r.label if r.path.startswith(right) else "c")
    row = run(train, photos, tmp_path)
    assert train.began == ["fold0", "fold1", "fold2"]
    assert row["top1"] == row["score"] == pytest.approx((9 + 1 + 6) / 22)
    assert row["mean_per_class"] == pytest.approx((1 + 1 / 7 + 1) / 3)
    assert row["confusion"] == [[0, 0, 9], [1, 1, 1], [1, 2, 6], [2, 2, 6]]
    assert row["fold_mean"] == pytest.approx(np.mean(row["fold_scores"]))
    assert row["fold_sd"] == pytest.approx(np.std(row["fold_scores"], ddof=1))
    # `auto` may choose another one for each fold.
    assert "resolution" not in row and row["epochs"] == 0
    with open(tmp_path / run_folder.OUT_OF_FOLD_FILE) as stream:
        lines = list(csv.DictReader(stream))
    assert len({line["path"] for line in lines}) == 22
    for line in lines:
        assert line["label"] == line["path"][0]
        hit = line["path"].startswith(right) or line["label"] == "c"
        assert (line["predicted"] == line["label"]) == hit
        assert float(line["of_label"]) == pytest.approx(0.8 if hit else 0.1)
    found = predictions.read(tmp_path / predictions.PREDICTIONS_FILE, 3)
    assert found.images.names == tuple(line["path"] for line in lines)
    # All images are trained on, by one run or another.
    loaded = sources.load(f"folder:{photos}", "all")
    for own, count in (("", 22), ("fold0", 22 - len(list_tested(tmp_path, 0)))):
        (tmp_path / "fold0/config.json").write_text(
            '{"task": "folder:x", "train_on": "train+validation"}'
        )
        assert trained_on.count(tmp_path / own, "x", loaded, None) == count
    page = (tmp_path / run_report.REPORT_FILE).read_text()
    assert page == run_report.compose(run_files.read(tmp_path))
    assert "3 runs, each on about 14 images; each of all 22 images" in page
    assert "fold2" in page and "Confusion" in page


def test_an_interrupted_one_goes_on_with_the_fold_that_is_not_done(
    photos, tmp_path
):
    stopped = Trainer(lambda row: row.label, stop_at="fold1")
    with pytest.raises(KeyboardInterrupt):
        run(stopped, photos, tmp_path)
    lists = [split_list.read(tmp_path / f"fold{i}") for i in range(3)]
    assert not (tmp_path / run_folder.RESULTS_FILE).exists()
    row = run(Trainer(lambda row: row.label), photos, tmp_path)
    assert row["score"] == 1.0
    assert lists == [split_list.read(tmp_path / f"fold{i}") for i in range(3)]
    again = Trainer(lambda row: row.label)
    assert run(again, photos, tmp_path) == json.loads(json.dumps(row))
    assert not again.began
    with pytest.raises(ValueError, match="holds another run: folds=3 there"):
        run(again, photos, tmp_path, folds=2)


@pytest.mark.parametrize(
    ("folds", "name", "changes", "message"),
    [
        (1, None, [], "--folds=1 must be from 2 to 100"),
        (101, None, [], "--folds=101 must be from 2 to 100"),
        (8, None, [], "Class 'c' in .* has 6 images, fewer than --folds=8"),
        (3, "digits", [], "digits is read as its publisher divided it"),
        (3, "cifar10", [], "tfds:cifar10 has the same ones"),
        (
            3,
            None,
            ["train_on=train", "evaluate_on=validation"],
            "evaluate_on='validation' does not go with it",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_before_any_work(
    photos, tmp_path, folds, name, changes, message
):
    task = tasks.get_task(name or f"folder:{photos}")
    train = Trainer(lambda row: row.label)
    with pytest.raises((RuntimeError, ValueError), match=message):
        cross_validation.run(
            train,
            task,
            recipes.get_recipe("linear", changes),
            tmp_path / "run",
            folds=folds,
            described={},
        )
    assert not train.began and not (tmp_path / "run").exists()


def test_other_commands_say_what_to_do_with_folds(tmp_path):
    from efficientnet_tf.inference import classifier

    (tmp_path / run_folder.CONFIG_FILE).write_text('{"folds": 4}')
    message = "holds 4 folds with a network each, .* such as .*fold0"
    with pytest.raises(IsADirectoryError, match=message):
        classifier.from_run(tmp_path)
    run_folder.check_one_network(tmp_path / "fold0")


def test_options_of_a_fold_are_those_of_all(photos, tmp_path):
    options = folder_options.Options(group_by="(.)")
    with pytest.raises(RuntimeError, match="9 images in 1 group|in 1 group"):
        cross_validation.run(
            Trainer(lambda row: row.label),
            tasks.get_task(f"folder:{photos}"),
            CONFIG,
            tmp_path / "run",
            folds=2,
            described={},
            folder=options,
        )
