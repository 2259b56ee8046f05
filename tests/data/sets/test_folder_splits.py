"""Splits that are cut by name: nothing that is added moves what was there."""

import pathlib

import numpy as np
import pytest

from efficientnet_tf.data.folders import folder_walk, layouts
from efficientnet_tf.data.sets import folder_splits
from efficientnet_tf.utils import folder_options

ROOT = pathlib.Path("root")
SOURCE = layouts.Layout(
    *("root", ROOT, {}, {}, folder_walk.LeftOut(ROOT)),
    how_to_split="folders named",
)
MISSING = ("test", "validation")


def make_classes(**counts):
    return {
        name: [ROOT / name / f"{i:04d}.jpg" for i in range(count)]
        for name, count in counts.items()
    }


def cut(classes, missing=MISSING, **fields):
    """Returns {file: split}."""
    files = [file for own in classes.values() for file in own]
    group_of, *_ = folder_splits.make_group_of(
        folder_options.Options(**fields), ROOT, dict.fromkeys(files, ROOT), {}
    )
    divided, _ = folder_splits.cut(
        classes, missing, source=SOURCE, group_of=group_of
    )
    return {
        file: split
        for split, parts in divided.items()
        for own in parts.values()
        for file in own
    }


def test_added_images_and_classes_move_none():
    before = cut(make_classes(cat=60, dog=60))
    classes = make_classes(cat=61, dog=90, emu=40)
    classes["cat"].append(ROOT / "cat" / "sub" / "0001.jpg")
    after = cut(classes)
    assert {file: after[file] for file in before} == before
    assert len(set(before.values())) == 3


def test_the_shares_are_those_that_are_promised():
    places = list(cut(make_classes(cat=3000, dog=3000)).values())
    shares = [np.mean([p == split for p in places]) for split in MISSING]
    # Four standard deviations of 6,000 draws.
    assert shares[0] == pytest.approx(folder_splits.TEST_SHARE, abs=0.021)
    assert shares[1] == pytest.approx(folder_splits.VALIDATION_SHARE, abs=0.016)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 12])
def test_each_class_has_an_image_in_each_split(count):
    names = [f"class {i}" for i in range(30)]
    places = cut(make_classes(**dict.fromkeys(names, count)))
    for name in names:
        found = {s for file, s in places.items() if file.parent.name == name}
        assert found == {"train", "validation", "test"}


@pytest.mark.parametrize("missing", [("test",), ("validation",)])
def test_a_split_is_the_same_whether_or_not_the_other_has_a_folder(missing):
    classes = make_classes(cat=60, dog=60)
    both, one = cut(classes), cut(classes, missing)
    for file, split in both.items():
        assert one[file] == (split if split in missing else "train")


def test_copies_in_another_format_stay_together():
    classes = make_classes(cat=40, dog=40)
    for files in classes.values():
        files += [file.with_suffix(".PNG") for file in files]
    places = cut(classes)
    for file, split in places.items():
        assert places[file.with_suffix(".jpg")] == split


def make_patients(classes, patients, shots=3):
    return {
        name: [
            ROOT / name / f"patient{i}_shot{j}.jpg"
            for i in range(patients)
            for j in range(shots)
        ]
        for name in classes
    }


PATTERNS = [r"(patient\d+)_", r"patient\d+"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_images_of_a_group_stay_together_over_all_classes(pattern):
    classes = make_patients(("cat", "dog"), 25)
    places = cut(classes, group_by=pattern)
    patients = {}
    for file, split in places.items():
        patients.setdefault(file.name.split("_")[0], set()).add(split)
    assert all(len(found) == 1 for found in patients.values())
    alone = {f.name.split("_")[0]: set() for f in places}
    for file, split in cut(classes).items():
        alone[file.name.split("_")[0]].add(split)
    assert any(len(found) > 1 for found in alone.values())


def test_groups_may_be_in_a_file(tmp_path):
    classes = make_patients(("cat", "dog"), 12)
    path = tmp_path / "groups.csv"
    rows = ["path,group"]
    for own in classes.values():
        for i, file in enumerate(own):
            name = file.relative_to(ROOT).as_posix() if i % 2 else file.name
            rows.append(f"{name},scene {i // 6}")
    path.write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    places = cut(classes, group_by=str(path))
    for own in classes.values():
        for i in range(0, len(own), 6):
            assert len({places[file] for file in own[i : i + 6]}) == 1


TOO_SMALL = {
    "two images": (
        make_classes(cat=30, dog=2),
        {},
        "Class 'dog' in root has 2 images; at least 3 are needed to cut test "
        "and validation from it: add images",
    ),
    "one patient": (
        {**make_patients(["cat"], 9), **make_patients(["dog"], 1)},
        {"group_by": PATTERNS[0]},
        "Class 'dog' in root has 3 images in 1 group; at least 3",
    ),
}


@pytest.mark.parametrize(
    "classes, fields, message", TOO_SMALL.values(), ids=TOO_SMALL
)
def test_too_small_a_class_says_what_to_do(classes, fields, message):
    with pytest.raises(RuntimeError, match=message):
        cut(classes, **fields)


def test_groups_that_fit_no_image_or_file_are_named(tmp_path):
    with pytest.raises(ValueError, match="no group to any of 10 images"):
        cut(make_classes(cat=5, dog=5), group_by="patient")
    path = tmp_path / "groups.csv"
    path.write_text("path,group\nscans/cat/0001.jpg,1\n")
    message = r"no group to .*, such as cat/0000.jpg; it names scans/cat/0001"
    with pytest.raises(ValueError, match=message):
        cut(make_classes(cat=5), group_by=str(path))
    with pytest.raises(ValueError, match="neither a regular expression"):
        folder_options.Options(group_by="(")


def test_images_without_a_group_are_counted():
    files = [ROOT / "cat" / "patient1_a.jpg", ROOT / "cat" / "b.jpg"]
    _, without, _ = folder_splits.make_group_of(
        folder_options.Options(group_by=PATTERNS[0]),
        ROOT,
        dict.fromkeys(files, ROOT),
        {},
    )
    assert without == 1
