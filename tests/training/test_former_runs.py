"""Runs started by an early version, whose layers had other names."""

import random
import shutil

import pytest

import paths
import samples
from efficientnet_tf.training import checkpoints, recipes, train
from efficientnet_tf.utils import run_folder

SETTINGS = ["epochs=2", "batch_size=8", "ema_decay=0.9"]
SETTINGS += ["learning_rate_per_256=0.064"]  # The recipe's at that time.


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the old run, its images and its variant file."""
    legacy = paths.ROOT / "tests" / "legacy"
    shutil.copytree(legacy / "run", tmp_path / "run")
    shutil.copy(legacy / "b0.json", tmp_path)
    samples.make_folder(tmp_path / "photos", {"a": 40, "b": 40})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def divide_as_then(photos):
    """Moves images into split folders as the early version divided them."""
    for name in ("a", "b"):
        files = sorted((photos / name).iterdir())
        random.Random(f"0{name}").shuffle(files)
        parts = {"validation": files[:4], "test": files[4:12]}
        parts["train"] = files[12:]
        for split, own in parts.items():
            folder = photos / split / name
            folder.mkdir(parents=True)
            for file in own:
                file.rename(folder / file.name)
        (photos / name).rmdir()


def resume():
    return train.train_and_evaluate(
        "b0.json",
        "folder:photos",
        config=recipes.get_recipe("smoke", SETTINGS),
        workdir="run",
        splits=("train", "test"),
        recipe="smoke",
    )


WARNING = "begun by an earlier version"


def test_a_finished_run_gives_its_result(place, caplog):
    row = run_folder.last_result(place / "run")
    assert row["cross_entropy"] == pytest.approx(0.694758)
    assert resume() == row
    assert WARNING not in caplog.text


@pytest.mark.slow  # Of runs before a release.
def test_an_interrupted_run_ends_nearly_as_it_would_have_and_says_so(
    place, caplog
):
    divide_as_then(place / "photos")
    wanted = run_folder.last_result(place / "run")
    (place / "run" / run_folder.RESULTS_FILE).unlink()
    newest, _ = checkpoints.list_newest(place / "run" / run_folder.CHECKPOINTS)
    shutil.rmtree(newest)  # Killed in its second epoch.
    found = resume()
    assert WARNING in caplog.text
    for name in ("cross_entropy", "ema_cross_entropy", "top1", "ema_top1"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-3)


def test_another_networks_file_is_another_run(place):
    text = (place / "b0.json").read_text()
    (place / "b0.json").write_text(text.replace("0.1", "0.15"))
    with pytest.raises(ValueError, match="holds another run: network's width"):
        resume()


def test_one_whose_splits_were_cut_otherwise_cannot_go_on(place):
    (place / "run" / run_folder.RESULTS_FILE).unlink()
    with pytest.raises(RuntimeError, match="without a list of its images"):
        resume()
