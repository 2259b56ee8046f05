import collections
import pathlib

import pytest
from PIL import Image

import samples
from efficientnet_tf.data.sets import fold_lists, readers, split_list
from efficientnet_tf.utils import folder_options, run_folder

PARTS = ("train", "validation", "test")


def divide(name, folder, count=3, seed=0, **options):
    own = folder_options.Options(**options)
    layout = readers.read(name, None, own)
    fold_lists.write(layout, count, own, folder, seed)
    return [
        split_list.read(folder / run_folder.name_fold(i)) for i in range(count)
    ]


def of_split(rows, split):
    return {row.path for row in rows if row.split == split}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    counts = {"a": 9, "b": 7, "c": 3}
    return samples.make_folder(tmp_path_factory.mktemp("photos"), counts, 8)


def write_table(root, header, rows):
    """A table of images of their own colours, beside it."""
    for number in range(len(rows)):
        color = (number * 11 % 256, number * 57 % 256, number * 91 % 256)
        Image.new("RGB", (8, 8), color).save(root / f"{number}.png")
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    path = root / "table.csv"
    path.write_text("\n".join([f"path,{header}", *lines]))
    return f"csv:{path}"


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_image_is_tested_once_and_each_class_trained_on(
    photos, tmp_path, count, seed
):
    folds = divide(f"folder:{photos}", tmp_path, count, seed)
    tested = collections.Counter()
    for rows in folds:
        own = {split: of_split(rows, split) for split in PARTS}
        assert all(own.values())
        assert (
            sum(map(len, own.values())) == 19 == len(set().union(*own.values()))
        )
        assert {path[0] for path in own["train"]} == set("abc")
        tested.update(own["test"])
    assert set(tested.values()) == {1} and len(tested) == 19
    # Each class is spread evenly, and the list of all says where.
    whole = split_list.read(tmp_path)
    sizes = collections.Counter((r.split, r.label) for r in whole)
    for name, size in {"a": 9, "b": 7, "c": 3}.items():
        own = [sizes[run_folder.name_fold(i), name] for i in range(count)]
        assert sum(own) == size and max(own) - min(own) <= 1


def test_groups_are_in_one_fold_and_one_part(tmp_path):
    rows = [f"{'ab'[i % 2]},{'ab'[i % 2]}{i // 6}" for i in range(36)]
    name = write_table(tmp_path, "label,group", rows)
    groups = {f"{i}.png": row.split(",")[1] for i, row in enumerate(rows)}
    for own in divide(name, tmp_path / "run"):
        parts = [{groups[p] for p in of_split(own, part)} for part in PARTS]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 12


def test_the_rarest_label_is_in_every_fold(tmp_path):
    rows = [f"{int(i % 4 > 0)},{int(i % 10 == 0)}" for i in range(60)]
    name = write_table(tmp_path, "often,seldom", rows)
    folds = divide(name, tmp_path / "run", labels=("often", "seldom"))
    for own in folds:
        tested = [r for r in own if r.split == "test"]
        assert sum("seldom" in row.label for row in tested) == 2
        trained = [r.label for r in own if r.split == "train"]
        assert any("seldom" in label for label in trained)


def test_numbers_are_spread_by_their_size(tmp_path):
    name = write_table(tmp_path, "age", [str(i * i) for i in range(30)])
    for own in divide(name, tmp_path / "run", targets=("age",)):
        ages = sorted(float(r.label) for r in own if r.split == "test")
        assert len(ages) == 10 and ages[0] < 50 and ages[-1] > 600


def test_given_test_images_are_in_no_fold(tmp_path, caplog):
    rows = [f"{'ab'[i % 2]},{'test' if i < 6 else 'train'}" for i in range(24)]
    name = write_table(tmp_path, "label,split", rows)
    for own in divide(name, tmp_path / "run"):
        left = of_split(own, fold_lists.LEFT_OUT)
        assert left == {f"{i}.png" for i in range(6)}
    assert "has 6 test images, which no fold has" in caplog.text


def test_a_class_down_to_its_last_images_is_trained_on(tmp_path):
    root = samples.make_folder(tmp_path / "photos", {"a": 20, "b": 2}, 8)
    for own in divide(f"folder:{root}", tmp_path / "run", 2):
        assert {path[0] for path in of_split(own, "train")} == set("ab")


def test_unreadable_images_are_counted_before_classes_are(tmp_path):
    root = samples.make_folder(tmp_path / "photos", {"a": 6, "b": 3}, 8)
    (root / "b/000.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(RuntimeError, match="1 of 9 images cannot be read"):
        divide(f"folder:{root}", tmp_path / "run")
    with pytest.raises(RuntimeError, match="Class 'b' .* has 2 images"):
        divide(f"folder:{root}", tmp_path / "run", skip_bad=True)


@pytest.mark.parametrize(
    ("header", "rows", "options", "message"),
    [
        (
            "label",
            ["a"] * 5 + ["b"] * 2,
            {},
            "Class 'b' in .*table.csv has 2 images, fewer than --folds=3: use "
            "--folds=2 at most",
        ),
        (
            "label",
            ["a"] * 5 + ["b", "c"],
            {},
            "Class 'b' .* has 1 image, .*and 1 more too.*: add images of it",
        ),
        (
            "label,group",
            [f"a,{i}" for i in range(5)] + ["b,x", "b,x", "b,x", "b,y"],
            {},
            "Class 'b' .* has 4 images in 2 groups, fewer than --folds=3",
        ),
        (
            "one,two",
            ["1,0"] * 6 + ["0,1"] * 2,
            {"labels": ("one", "two")},
            "Label 'two' in .* has 2 images, fewer than --folds=3",
        ),
        (
            "age",
            ["1", "2"],
            {"targets": ("age",)},
            "The set in .* has 2 images",
        ),
        (
            "label,split",
            ["a,train"] * 4 + ["b,train"] * 4 + ["c,test"],
            {},
            "test and train differ in their classes: 1 only in test .'c'",
        ),
        ("label,split", ["a,test", "b,test"], {}, "holds no training images"),
        ("label", ["a"] * 5, {}, "holds one class, 'a'"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    tmp_path, header, rows, options, message
):
    name = write_table(tmp_path, header, rows)
    with pytest.raises(RuntimeError, match=message) as caught:
        divide(name, tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not list(pathlib.Path(tmp_path / "run").glob("**/images.csv"))
