"""All runs of a grid see the images that it began with."""

import shutil

import pytest

from efficientnet_tf.utils import run_folder
from transfer.config import tasks
from transfer.sweep import image_lists, plan as plan_lib


@pytest.fixture
def plan(tmp_path, make_folder):
    folder = make_folder(tmp_path / "photos", {"a": 10, "b": 10})
    return plan_lib.Plan(
        tasks=(f"folder:{folder}",),
        models=("efficientnet_lite0",),
        recipes=("linear",),
    )


def load(plan, workdir):
    """Returns the images' names by split, as a run of the grid gets them."""
    (name,) = plan.tasks
    options = image_lists.folder_of(plan, workdir, name)
    examples = tasks.load_examples(tasks.get_task(name), None, options)
    return {split: part.source.names for split, part in examples.items()}


def test_runs_that_follow_get_the_images_of_the_first(plan, tmp_path):
    workdir = tmp_path / "grid"
    image_lists.load(plan, workdir, None)
    first = load(plan, workdir)
    photos = tmp_path / "photos"
    shutil.copy(photos / "a" / "000.png", photos / "a" / "more.png")
    # Before any run has begun, a new list is written.
    image_lists.load(plan, workdir, None)
    second = load(plan, workdir)
    assert sum(map(len, second.values())) == 21
    (workdir / "final").mkdir()
    (photos / "a" / "more.png").rename(photos / "b" / "more.png")
    with pytest.raises(RuntimeError, match=r"1 removed \(a/more.png\)"):
        image_lists.load(plan, workdir, None)
    (photos / "b" / "more.png").rename(photos / "a" / "more.png")
    shutil.copy(photos / "a" / "000.png", photos / "a" / "last.png")
    image_lists.load(plan, workdir, None)
    assert load(plan, workdir) == second
    assert sum(map(len, first.values())) == 20


def test_a_grid_that_has_ended_says_what_changed(plan, tmp_path, caplog):
    image_lists.load(plan, tmp_path, None)
    (tmp_path / "photos" / "b" / "003.png").unlink()
    image_lists.warn_of_changes(plan, tmp_path, None)
    assert "changed since this run: 1 removed (b/003.png)" in caplog.text


def test_a_grid_without_a_list_is_not_divided_otherwise(plan, tmp_path):
    (tmp_path / "final").mkdir()
    with pytest.raises(RuntimeError, match="without a list of its images"):
        image_lists.load(plan, tmp_path, None)
    assert not list(tmp_path.rglob(run_folder.IMAGES_FILE))
