"""A folder's images in a run: checked, listed, and the same when resumed."""

import csv
import logging
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data.folders import class_folders
from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import (
    damaged_files,
    labelled_files,
    run_images,
    split_duplicates,
)
from efficientnet_tf.data.tables import csv_lists
from efficientnet_tf.utils import folder_options, run_folder

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, make_folder):
    folder = make_folder(tmp_path_factory.mktemp("photos"), {"a": 12, "b": 12})
    damaged_files.examine(folder, sorted(folder.rglob("*.png")))
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    copy = shutil.copytree(pristine, tmp_path / "photos")
    # What is known of the images holds for the copies: decoding takes long.
    known = [damaged_files._cache_file(path) for path in (pristine, copy)]
    shutil.copy(*known)
    return copy


def divide(folder, splits=SPLITS, **fields):
    return labelled_files.divide(
        class_folders.read(folder), splits, folder_options.Options(**fields)
    )


def places(division):
    return {
        file.relative_to(file.parents[1]).as_posix(): split
        for split, labelled in division.files.items()
        for file, _ in labelled
    }


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def damage_middle(path):
    """Changes a byte of a PNG's pixels, so that its beginning and end hold."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def write_bad_length(path):
    """Writes a PNG with too few rows, whose every check sum is right."""

    def chunk(kind, data):
        body = kind + data
        return (
            struct.pack(">I", len(data))
            + body
            + struct.pack(">I", zlib.crc32(body))
        )

    header = struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(121 * 10))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def cut_jpeg(path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))


def leave_end_out(path):
    """Writes a JPEG without its end marker, of which a crop can be decoded."""
    Image.new("RGB", (64, 48), (9, 99, 199)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-2])


DAMAGES = {
    "a byte in the middle": damage_middle,
    "too few rows": write_bad_length,
    "a JPEG of which half is zeros": cut_jpeg,
    "a JPEG without its end": leave_end_out,
    "a web page": lambda path: path.write_text("<html>not found</html>"),
    "nothing": lambda path: path.write_bytes(b""),
    "the start alone": lambda path: path.write_bytes(path.read_bytes()[:50]),
}


def test_every_damage_is_found_before_any_work(folder, tmp_path):
    files = sorted((folder / "a").iterdir())[: len(DAMAGES)]
    for file, damage in zip(files, DAMAGES.values(), strict=True):
        damage(file)
    workdir = tmp_path / "run"
    message = rf"{len(DAMAGES)} of 24 images cannot be read; .*--skip_bad"
    with pytest.raises(RuntimeError, match=message):
        divide(folder, workdir=workdir)
    rows = read_csv(workdir / run_folder.UNREADABLE_FILE)
    assert [row["path"] for row in rows] == [f"a/{f.name}" for f in files]
    assert all(len(row["reason"]) > 20 for row in rows)
    # They are left out, and no other image moves.
    whole = places(divide(folder, workdir=workdir, skip_bad=True))
    assert len(whole) == 24 - len(DAMAGES)
    kept = {r["path"]: r["split"] for r in read_csv(workdir / "images.csv")}
    assert kept == whole | {f"a/{f.name}": "unreadable" for f in files}


def test_a_share_of_unreadable_images_may_be_left_out(folder):
    damage_middle(folder / "a" / "000.png")
    with pytest.raises(RuntimeError, match="1 of 24 .* The limit is 4.00%"):
        divide(folder, bad_share=0.04)
    assert len(places(divide(folder, bad_share=0.05))) == 23


def test_a_second_look_decodes_only_what_is_new(folder, monkeypatch):
    read = []
    decode = decoding.decode_file
    monkeypatch.setattr(
        decoding,
        "decode_file",
        lambda data, path: read.append(path) or decode(data, path),
    )
    first = divide(folder)
    (folder / "a" / "001.png").touch()
    divide(folder)
    assert read == []
    shutil.copy(folder / "a" / "000.png", folder / "a" / "new.png")
    damage_middle(folder / "b" / "003.png")
    assert len(places(divide(folder, skip_bad=True))) == 24
    assert {path.name for path in read} == {"new.png", "003.png"}
    again = divide(folder, skip_bad=True).facts
    for path, facts in again.items():
        if path in first.facts:
            assert facts.sha256 == first.facts[path].sha256
            assert facts.sketch.bits == first.facts[path].sketch.bits


def test_a_damaged_cache_is_made_anew(folder):
    facts = divide(folder, ("all",)).facts
    cache = damaged_files._cache_file(folder)
    size = cache.stat().st_size
    with cache.open("r+b") as stream:
        stream.truncate(size // 2)
    assert divide(folder, ("all",)).facts.keys() == facts.keys()
    assert cache.stat().st_size == size


def add(folder):
    for name in "ab":
        shutil.copy(folder / name / "000.png", folder / name / "zzz.png")


def test_a_resumed_run_goes_on_with_its_own_images(folder, tmp_path, caplog):
    fields = {"workdir": tmp_path / "run"}
    before = divide(folder, **fields)
    add(folder)
    (folder / "c").mkdir()
    shutil.copy(folder / "a" / "000.png", folder / "c" / "000.png")
    with caplog.at_level(logging.WARNING):
        after = divide(folder, resumes=True, **fields)
    assert after.files == before.files
    assert after.class_names == ("a", "b")
    assert "3 added (a/zzz.png, b/zzz.png, c/000.png)" in caplog.text


def remove(folder):
    (folder / "a" / "000.png").unlink()


def replace(folder):
    other = folder / "b" / "001.png"
    other.write_bytes((folder / "b" / "002.png").read_bytes())


def rename(folder):
    (folder / "b" / "002.png").rename(folder / "b" / "x.png")


CHANGES = [
    (remove, r"1 removed \(a/000.png\)"),
    (replace, r"1 changed \(b/001.png\)"),
    (rename, r"1 added \(b/x.png\); 1 removed \(b/002.png\)"),
]


@pytest.mark.parametrize("change, message", CHANGES)
def test_a_run_whose_images_are_gone_cannot_go_on(
    folder, tmp_path, change, message
):
    fields = {"workdir": tmp_path / "run"}
    divide(folder, **fields)
    change(folder)
    with pytest.raises(RuntimeError, match=f"changed since .*: {message}"):
        divide(folder, resumes=True, **fields)
    divide(folder, **fields)  # A new run begins with what there is.


def test_resuming_keeps_the_list_of_unreadable_images(folder, tmp_path):
    damage_middle(folder / "a" / "000.png")
    fields = {"workdir": tmp_path / "run", "skip_bad": True}
    before = divide(folder, **fields)
    listed = tmp_path / "run" / run_folder.UNREADABLE_FILE
    content = listed.read_bytes()
    assert divide(folder, resumes=True, **fields).files == before.files
    assert listed.read_bytes() == content and b"a/000.png" in content


def test_a_run_whose_image_cannot_be_read_any_more_says_so(
    folder, tmp_path, monkeypatch
):
    fields = {"workdir": tmp_path / "run"}
    divide(folder, **fields)
    bad = {folder / "b" / "001.png": "b/001.png: Input/output error."}
    monkeypatch.setattr(damaged_files, "examine", lambda *_: ({}, bad))
    message = r"1 of the run's 24 images .* error. It was readable when the run"
    with pytest.raises(RuntimeError, match=message):
        divide(folder, resumes=True, **fields)


@pytest.mark.parametrize(
    "splits", [("all", "validation"), ("train", "all"), ("test", "all", "all")]
)
def test_all_images_beside_a_split_are_refused(folder, splits):
    other = next(split for split in splits if split != "all")
    with pytest.raises(ValueError, match=f"'all' is every .*, '{other}' among"):
        divide(folder, splits)


def test_touched_files_have_not_changed(folder, tmp_path):
    fields = {"workdir": tmp_path / "run"}
    before = divide(folder, **fields)
    for path in folder.rglob("*.png"):
        path.touch()
    assert divide(folder, resumes=True, **fields).files == before.files


def test_a_finished_run_says_what_changed(folder, tmp_path, caplog):
    divide(folder, workdir=tmp_path / "run")
    run_images.warn_of_changes(
        lambda: class_folders.read(folder), tmp_path / "run"
    )
    assert "have changed" not in caplog.text
    add(folder)
    remove(folder)
    run_images.warn_of_changes(
        lambda: class_folders.read(folder), tmp_path / "run"
    )
    assert (
        "changed since this run: 2 added (a/zzz.png, b/zzz.png); 1 remov"
        in (caplog.text)
    )


def test_a_run_of_an_earlier_version_is_not_divided_otherwise(folder, tmp_path):
    with pytest.raises(RuntimeError, match="without a list of its images"):
        divide(folder, workdir=tmp_path / "run", resumes=True)


def test_images_of_two_splits_are_counted_and_named(folder, tmp_path, caplog):
    noise = np.random.default_rng(3).integers(20, 236, (6, 6, 3), np.uint8)
    picture = Image.fromarray(noise).resize((48, 48))
    lighter = np.asarray(picture) + 3
    found = places(divide(folder))
    tested = next(name for name, split in found.items() if split == "test")
    trained = next(name for name, split in found.items() if split == "train")
    picture.save(folder / tested)
    Image.fromarray(lighter).save(folder / trained)
    workdir = tmp_path / "run"
    divide(folder, workdir=workdir)
    (row,) = read_csv(workdir / run_folder.NEAR_DUPLICATES_FILE)
    assert (row["path"], row["other_path"]) == (tested, trained)
    assert f"1 of {list(found.values()).count('test')} test images" in (
        caplog.text
    )


def test_images_of_two_classes_are_named(folder, tmp_path, caplog):
    found = places(divide(folder))
    (test,) = [n for n, s in found.items() if s == "test" and n[0] == "a"][:1]
    one, two = [n for n, s in found.items() if s == "train" and n[0] == "a"][:2]
    same = [n for n, s in found.items() if s == "train" and n[0] == "b"][:2]
    shutil.copy(folder / one, folder / same[0])  # Within a split.
    shutil.copy(folder / test, folder / same[1])
    shutil.copy(folder / two, folder / "a" / "again.png")  # Of one class.
    workdir = tmp_path / "run"
    caplog.clear()
    divide(folder, workdir=workdir)
    rows = [
        (row["path"], row["other_path"])
        for row in read_csv(workdir / run_folder.NEAR_DUPLICATES_FILE)
        if row["same_class"] == "False"
    ]
    assert sorted(rows) == sorted([(same[0], one), (test, same[1])])
    assert "2 images are, or nearly are, images of another class" in caplog.text
    assert "flatters" not in caplog.text
    assert split_duplicates.count(workdir, "test") == {
        "exact_duplicates": 1,
        "near_duplicates": 0,
    }
    # Alone, too: a score on such images says less than it seems to.
    caplog.clear()
    divide(folder, ("all",))
    assert f"{same[0]} is like {one}" in caplog.text


def test_all_labelled_images_are_one_split(folder, tmp_path):
    division = divide(folder, ("all",))
    assert len(places(division)) == 24
    split = tmp_path / "split"
    for place, name in (("Train", "a"), ("Train", "b"), ("val", "a")):
        shutil.copytree(folder / name, split / place / name)
    shutil.copytree(folder / "b", split / "val" / "b")
    assert [len(own) for own in divide(split, ("all",)).files.values()] == [48]
    shutil.rmtree(folder / "b")
    assert len(places(divide(folder, ("all",)))) == 12
    with pytest.raises(RuntimeError, match="one class, 'a'; .* give .*/a"):
        divide(folder)


def test_a_missing_train_folder_is_named_only_if_it_is_needed(folder, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(folder, root / "Testing")
    assert len(places(divide(root, ("test",)))) == 24
    with pytest.raises(
        RuntimeError,
        match=r"holds test \(Testing\) and no training images, so .*'train'",
    ):
        divide(root)


def test_rows_of_groups_that_fit_no_image_are_named(folder, tmp_path, caplog):
    path = tmp_path / "groups.csv"
    path.write_text("path,group\na/000.PNG,x\nb/000.png,x\nc/000.png,x\n")
    found = places(divide(folder, group_by=str(path)))
    assert found["a/000.png"] == found["b/000.png"]
    assert "names 1 image not among those read: c/000.png" in caplog.text
    assert "gives no group to 22 images" in caplog.text


@pytest.fixture
def uneven(folder, tmp_path):
    """Returns train/{a,b} beside test/b."""
    root = tmp_path / "uneven"
    shutil.copytree(folder, root / "train")
    shutil.copytree(folder / "b", root / "test" / "b")
    return root


def test_a_split_may_lack_a_class(uneven, tmp_path, caplog):
    # Alone, it has the classes that it has.
    assert divide(uneven, ("test",)).class_names == ("b",)
    workdir = tmp_path / "run"
    found = divide(uneven, workdir=workdir)
    assert found.class_names == ("a", "b")
    assert {label for _, label in found.files["test"]} == {1}
    assert "test has no images of 1 of the 2 classes (a); its" in caplog.text
    again = divide(uneven, workdir=workdir, resumes=True)
    assert again.files == found.files


def test_a_class_that_train_lacks_is_refused_where_train_is_used(uneven):
    (uneven / "test" / "b").rename(uneven / "test" / "B")
    shutil.copytree(uneven / "train" / "a", uneven / "test" / "a ")
    message = (
        r"test and train differ .* 2 only in test \('B', 'a '\), 2 only in "
        r"train \('a', 'b'\)"
    )
    with pytest.raises(RuntimeError, match=message):
        divide(uneven, ("train",))
    assert divide(uneven, ("test",)).class_names == ("B", "a ")


def test_what_was_understood_is_said_in_a_line(folder, tmp_path, caplog):
    root = tmp_path / "root"
    shutil.copytree(folder, root / "My_Training")
    shutil.copytree(folder, root / "My_Testing")
    (root / ".DS_Store").touch()
    (root / "My_Testing" / "notes.txt").touch()
    with caplog.at_level(logging.INFO, "absl"):
        found = divide(root)
    sizes = [len(found.files[split]) for split in SPLITS]
    assert sizes[2] == 24 and sum(sizes) == 48
    assert (
        f"root: 2 classes; train {sizes[0]} images (My_Training), validation "
        f"{sizes[1]} images (cut by name), test 24 images (My_Testing)."
    ) in caplog.text
    assert (
        ".txt files: 1 (My_Testing/notes.txt); hidden, system or unfinished "
        "files: 1 (.DS_Store)"
    ) in caplog.text


def test_a_name_in_no_encoding_is_read(folder, tmp_path):
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    shutil.copy(folder / "a" / "000.png", folder / "a" / name)
    fields = {"workdir": tmp_path / "run"}
    before = divide(folder, **fields)
    assert f"a/{name}" in places(before)
    assert divide(folder, resumes=True, **fields).files == before.files


@pytest.fixture
def table(folder):
    """A table of the folder's images with splits, groups and weights."""
    path = folder / "table.csv"
    lines = [
        f"{file.relative_to(folder)};{file.parent.name};{i % 2 + 0.5};{i // 2}"
        for i, file in enumerate(sorted(folder.rglob("*.png")))
    ]
    path.write_text("\n".join(["path;label;weight;group", *lines]))
    return path


def divide_table(table, **fields):
    return labelled_files.divide(
        csv_lists.read(table), SPLITS, folder_options.Options(**fields)
    )


def test_a_table_is_divided_by_its_groups_and_keeps_its_weights(
    table, tmp_path
):
    begun = divide_table(table, workdir=tmp_path / "run")
    files = [own for labelled in begun.files.values() for own in labelled]
    assert len(files) == 24
    by_split = {
        file: split for split, own in begun.files.items() for file, _ in own
    }
    ordered = sorted(by_split)
    assert all(
        by_split[ordered[i]] == by_split[ordered[i + 1]]
        for i in range(0, 24, 2)
    )
    assert [begun.weights[file] for file in ordered] == [0.5, 1.5] * 12
    # The run's list holds, though rows of the table are edited since.
    text = table.read_text()
    table.write_text(text.replace(";0.5;", ";9;"))
    resumed = divide_table(table, workdir=tmp_path / "run", resumes=True)
    assert (resumed.files, resumed.weights) == (begun.files, begun.weights)
    table.write_text(text.replace("a/003.png;a", "a/003.png;b"))
    with pytest.raises(
        RuntimeError, match=r"1 with another label \(a/003.png\)"
    ):
        divide_table(table, workdir=tmp_path / "run", resumes=True)


def test_a_table_has_the_checks_of_folders(table, tmp_path, caplog):
    folder = table.parent
    damage_middle(folder / "a" / "001.png")
    with pytest.raises(RuntimeError, match="1 of 24 images cannot be read"):
        divide_table(table)
    twin = shutil.copy(folder / "b" / "000.png", folder / "twin.png")
    text = table.read_text().replace("group", "split")
    rows = [line.rpartition(";")[0] for line in text.splitlines()[1:]]
    rows = [f"{row};{'test' if '/00' in row else 'train'}" for row in rows]
    head = text.splitlines()[0]
    rows.append(f"{twin.name};b;1;train")
    table.write_text("\n".join([head, *rows]))
    divide_table(table, skip_bad=True, workdir=tmp_path / "run")
    assert "1 of 25 images cannot be read and are left out" in caplog.text
    (found,) = read_csv(tmp_path / "run" / "near_duplicates.csv")
    assert (found["path"], found["other_path"]) == ("b/000.png", "twin.png")
    table.write_text(text.replace("split", "group"))
    with pytest.raises(ValueError, match="goes with images that have no group"):
        divide_table(table, group_by="(.)/")


def test_a_class_in_test_only_is_refused(table):
    rows = [
        f"{name}/{i:03d}.png,{name if i else 'c'},{'train' if i else 'test'}"
        for name in "ab"
        for i in range(4)
    ]
    table.write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(
        RuntimeError, match="test and train .* only in test .'c"
    ):
        divide_table(table)


def test_a_resumed_run_keeps_the_order_of_its_classes(folder, tmp_path):
    names = {"a": "10", "b": "9"}
    # The test rows are first, and have one class.
    rows = sorted(folder.rglob("*.png"), reverse=True)
    lines = [
        f"{file.relative_to(folder)},{names[file.parent.name]},"
        + ("test" if file.parent.name == "b" and i < 4 else "train")
        for i, file in enumerate(rows)
    ]
    (folder / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    begun = divide_table(folder / "table.csv", workdir=tmp_path / "run")
    assert begun.class_names == ("9", "10")
    # Not all are numbers now.
    shutil.copy(rows[0], folder / "more.png")
    with (folder / "table.csv").open("a") as stream:
        stream.write("\nmore.png,other,train")
    resumed = divide_table(
        folder / "table.csv", workdir=tmp_path / "run", resumes=True
    )
    assert resumed.class_names == begun.class_names
    assert resumed.files == begun.files
