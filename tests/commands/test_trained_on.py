import json
import shutil

import pytest

from efficientnet_tf.commands import trained_on
from efficientnet_tf.data.sets import damaged_files, sources, split_list
from transfer.sweep import image_lists


@pytest.fixture
def place(tmp_path, make_folder):
    """Photos of a run, which was trained on 16 of 20 of them."""
    photos = make_folder(tmp_path / "photos", {"a": 10, "b": 10})
    run = tmp_path / "grid" / "runs" / "run"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"train_on": "train"}))
    paths = sorted(photos.rglob("*.png"))
    facts, _ = damaged_files.examine(photos, paths)
    rows = [
        (
            "test" if path.stem in ("000", "001") else "train",
            path.parent.name,
            path,
        )
        for path in paths
    ]
    split_list.write(run, photos, rows, facts, {})
    return tmp_path, sum(row[0] == "train" for row in rows)


def _count(place, photos, workdir="grid/runs/run"):
    examples = sources.load(f"folder:{place / photos}", "all")
    return trained_on.count(
        str(place / workdir), f"folder:{place / photos}", examples, None
    )


def test_files_are_known_by_their_content_wherever_they_are(place):
    folder, trained = place
    assert trained == 16
    assert _count(folder, "photos") == trained
    shutil.copytree(folder / "photos", folder / "others")
    for number, path in enumerate(sorted((folder / "others").rglob("*.png"))):
        path.rename(path.with_name(f"renamed{number}.png"))
    assert _count(folder, "others") == trained


def test_no_file_is_read_whose_hash_is_known(place, monkeypatch):
    read = []
    monkeypatch.setattr(
        type(place[0]), "read_bytes", lambda path: read.append(path) or b""
    )
    assert _count(place[0], "photos") == place[1]
    assert read == []


def test_validation_images_count_if_they_were_trained_on(place):
    folder, trained = place
    path = folder / "grid" / "runs" / "run" / "config.json"
    path.write_text(json.dumps({"train_on": "train+test"}))
    assert _count(folder, "photos") == 20


def test_other_images_were_not_trained_on(place, make_folder):
    make_folder(place[0] / "new", {"a": 5, "b": 7}, size=44)
    assert _count(place[0], "new") == 0


def test_a_grids_list_holds_for_its_runs(place):
    folder, trained = place
    grid, task = folder / "grid", f"folder:{folder / 'photos'}"
    lists = image_lists.find_list(grid, task)
    lists.mkdir(parents=True)
    (grid / "runs" / "run" / "images.csv").rename(lists / "images.csv")
    # A list of somebody else, which is not read.
    (grid / "images.csv").write_text("name,price\na,1\n")
    assert _count(folder, "photos") is None
    path = grid / "runs" / "run" / "config.json"
    path.write_text(json.dumps({"task": task, "train_on": "train"}))
    assert _count(folder, "photos") is None
    (grid / "plan.json").write_text("{}")
    assert _count(folder, "photos") == trained


def test_a_run_from_scratch_names_its_split(place):
    folder, _ = place
    path = folder / "grid" / "runs" / "run" / "config.json"
    path.write_text(json.dumps({"splits": ["test", "train"]}))
    assert _count(folder, "photos") == 4


def test_without_a_list_it_is_not_known(place):
    (place[0] / "grid" / "runs" / "run" / "images.csv").unlink()
    assert _count(place[0], "photos") is None
    assert _count(place[0], "photos", "nowhere") is None


# Of CIFAR-10: config, split, how many of its 600 (10 %) or 965 images.
RECORDS = {
    "task": ({"task": "cifar10", "train_on": "train"}, "train[:10%]", 600),
    "its end": ({"task": "cifar10", "train_on": "train"}, "train[90%:]", 0),
    "validation too": (
        {"task": "cifar10", "train_on": "train+validation"},
        "train[90%:]",
        600,
    ),
    "test": ({"task": "cifar10"}, "test", 0),
    "from scratch": (
        {"dataset": "cifar10", "splits": ["train[:5%]", "test"]},
        "train",
        300,
    ),
    "another set": ({"task": "cifar100"}, "test", None),
}


@pytest.mark.parametrize("config, split, wanted", RECORDS.values(), ids=RECORDS)
def test_prepared_images_are_known_by_their_place(
    config, split, wanted, tmp_path, data_dir
):
    (tmp_path / "config.json").write_text(json.dumps(config))
    examples = sources.load("cifar10", split, data_dir)
    found = trained_on.count(str(tmp_path), "cifar10", examples, str(data_dir))
    assert found == wanted
