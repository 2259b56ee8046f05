"""Tables of images, as people and spreadsheets write them."""

import pytest

from efficientnet_tf.data.tables import csv_lists

IMAGES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "caf\xe9.jpg")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in IMAGES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def read(root, lines, encoding="utf-8"):
    path = root / "table.csv"
    text = "\r\n".join(lines).replace("{root}", str(root))
    path.write_bytes(text.encode(encoding, "surrogateescape"))
    return csv_lists.read(path)


def describe(layout):
    """Returns {split: {class: names}}."""
    return {
        split: {
            name: [f.relative_to(layout.root).as_posix() for f in own]
            for name, own in classes.items()
        }
        for split, classes in layout.listed.items()
    }


ONE_EACH = {None: {"cat": ["a/1.jpg"], "dog": ["b/1.jpg"]}}

# Lines, encoding, what is listed.
READ = {
    "plain": (["path,label", "a/1.jpg,cat", "b/1.jpg,dog"], "utf-8"),
    "semicolons": (["image;class", "a/1.jpg;cat", "b/1.jpg;dog"], "utf-8"),
    "tabs of Excel": (
        ["Filename\tTarget", "a/1.jpg\tcat", "b/1.jpg\tdog"],
        "utf-16",
    ),
    "bars, a mark, spaces": (
        ["file_name | category", "a/1.jpg | cat ", "b/1.jpg|dog"],
        "utf-8-sig",
    ),
    "backslashes, ./, empty lines": (
        ["path,label", "a\\1.jpg,cat", "", "./b/../b/1.jpg,dog", ""],
        "utf-8",
    ),
    "absolute paths below": (
        ["path,label", "{root}/a/1.jpg,cat", "{root}/b/1.jpg,dog"],
        "utf-8",
    ),
    "its own name before another's": (
        ["label,class,path,image", "cat,1,a/1.jpg,x", "dog,2,b/1.jpg,y"],
        "utf-8",
    ),
    "repeated rows": (
        ["path,label", "a/1.jpg,cat", "b/1.jpg,dog", "./a/1.jpg,cat"],
        "utf-8",
    ),
    "a fold of numbers": (
        ["path,label,fold", "a/1.jpg,cat,0", "b/1.jpg,dog,1"],
        "utf-8",
    ),
}


@pytest.mark.parametrize("lines, encoding", READ.values(), ids=READ)
def test_a_table_is_read_as_people_have_it(root, lines, encoding):
    assert describe(read(root, lines, encoding)) == ONE_EACH


def test_splits_groups_and_weights_are_read(root):
    lines = [
        "path,label,Split,group,weight",
        "a/1.jpg,cat,TRAIN,p1,2",
        "b/1.jpg,dog,TRAIN,,0.5",
        "a/2.jpg,cat,val,p1,1",
        "b/2.jpg,dog,val,p2,1e-1",
        "cafe\u0301.jpg,,test,p3,1",
    ]
    layout = read(root, lines)
    assert describe(layout) == {
        "train": {"cat": ["a/1.jpg"], "dog": ["b/1.jpg"]},
        "validation": {"cat": ["a/2.jpg"], "dog": ["b/2.jpg"]},
    }
    assert "unlabelled split: 1 (caf\xe9.jpg)" in str(layout.left_out)
    names = {f.relative_to(root).as_posix(): f for f in layout.weights}
    assert {n: layout.weights[f] for n, f in names.items()} == {
        "a/1.jpg": 2,
        "b/1.jpg": 0.5,
        "a/2.jpg": 1,
        "b/2.jpg": 0.1,
    }
    groups = {n: layout.groups.get(f) for n, f in names.items()}
    assert list(groups.values()) == ["p1", None, "p1", "p2"]
    assert layout.places == dict.fromkeys(layout.listed, "column Split")


def test_whole_numbers_are_classes_in_their_order(root):
    numbers = ("10", "9", "0", "101")
    rows = [f"{i},{n}" for i, n in zip(IMAGES, numbers, strict=False)]
    layout = read(root, ["path,label", *rows])
    assert layout.class_names == ("0", "9", "10", "101")


def test_what_is_left_out_or_not_used_is_named(root, caplog):
    lines = ["path,label,age,", "a/1.jpg,E,3,", "b/1.jpg,e,4,"]
    with caplog.at_level("INFO", "absl"):
        layout = read(root, [*lines, lines[1]])
    assert "not used: the columns age, the 4th, without a name" in caplog.text
    assert "capitals are classes of their own: E beside e" in caplog.text
    assert "repeat another: 1 (a/1.jpg)" in str(layout.left_out)
    assert layout.class_names == ("E", "e")


HEAD = "path,label"
REFUSED = {
    "empty": ([], "is empty: expected a first line"),
    "no rows": ([HEAD], "lists no images"),
    "no first line": (["a/1.jpg,cat", "b/1.jpg,dog"], "no column .*'a/1.jpg'"),
    "unknown columns": (["foto,art", "a/1.jpg,x"], "each image's path.*'foto'"),
    "no label": (["path,art", "a/1.jpg,x"], "image's label.*'path', 'art'"),
    "two paths": (["image,file,label", "a,b,c"], "image and file may each be"),
    "two labels": (["path,class,target", "a,b,c"], "class and target may each"),
    "a column twice": (["path,label,Label", "a,b,c"], "column 'label' twice"),
    "one-hot": (["image,rust,scab", "a/1.jpg,0,1"], "but rust, scab: .*--lab"),
    "targets": (
        ["path,t_1,t_2", "a,1,2"],
        "no column label, but t_1, t_2: .*--ta",
    ),
    "regression": (
        [HEAD, "a/1.jpg,0.5", "a/2.jpg,2"],
        "0.5; .*--targets=label",
    ),
    "missing files": (
        [HEAD, "a/1.jpg,x", *(f"a/{i}9.jpg,x" for i in range(5))],
        "5 of its 6 images are not .*line 3: 'a/09.jpg', .*, \\.\\.\\.",
    ),
    "a folder": ([HEAD, "a,x"], "1 of its 1 images are not there"),
    "images in a folder beside": ([HEAD, "1.jpg,x"], "but 1.jpg is in a"),
    "outside": ([HEAD, "../x.jpg,x", "a/../../x,x"], "has 2 paths out of its"),
    "absolute": ([HEAD, "/etc/hosts,x"], "1 path out .*line 2: '/etc/hosts'"),
    "no path": ([HEAD, " ,x"], "no path in 1 row, such as line 2"),
    "empty labels": (
        [HEAD, "a/1.jpg,", "a/2.jpg, ", "b/1.jpg,x"],
        "no label in 2 rows .line 2: 'a/1.jpg', line 3",
    ),
    "another case": (
        [HEAD, "a/1.jpg,Cat", "a/2.jpg,cat", "b/1.jpg,dog"],
        r"several ways: 'Cat' \(1\) and 'cat' \(1\);",
    ),
    "stray spaces": (
        [HEAD, "a/1.jpg,big cat", "a/2.jpg, big cat", "b/1.jpg,big  cat"],
        r"' big cat' \(1\) and 'big  cat' \(1\) and 'big cat' \(1\)",
    ),
    "two splits": (
        [f"{HEAD},split", "a/1.jpg,x,train", "a\\1.jpg,x,test"],
        "1 row, such as line 3, .*: two splits, 'train' and 'test'",
    ),
    "a label and another": (
        [HEAD, "a/1.jpg,x", "a/1.jpg,y"],
        "same image in 1 row, .*two labels, 'x' and 'y'",
    ),
    "an unknown split": (
        [f"{HEAD},split", "a/1.jpg,x,train", "a/2.jpg,x,fold3", "b/1.jpg,y,"],
        "column split of 2 rows .line 3: 'fold3', line 4: ''.; expected train",
    ),
    "two names of a split": (
        [f"{HEAD},set", "a/1.jpg,x,val", "a/2.jpg,x,dev"],
        "column set dev and val, which both mean 'validation'",
    ),
    "weights": (
        [f"{HEAD},weight", "a/1.jpg,x,one", "a/2.jpg,x,-1", "b/1.jpg,x,nan"],
        "no weight from 0 on in 3 rows .line 2: 'one'",
    ),
    "weights of 0": ([f"{HEAD},weight", "a/1.jpg,x,0"], "all weights are 0"),
    "a comma too many": (
        [HEAD, "a/1.jpg,x", "a/2.jpg,x,y"],
        "than the first line's 2 cells in 1 row, such as line 3",
    ),
    "only a test without labels": (
        [f"{HEAD},split", "a/1.jpg,,test"],
        "no row with a label",
    ),
    "an open quote": ([HEAD, '"a/1.jpg,x'], "no .csv file: .*, in line 2"),
    "latin-1": ([HEAD, "a/1.jpg,G\udce4nse"], r"UTF-8 \(line 2, byte b'.xe4'"),
    "zero bytes": ([HEAD, "a/1.jpg,x\0"], "it has zero bytes"),
}


@pytest.mark.parametrize("lines, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_in_a_line(root, lines, message):
    with pytest.raises((ValueError, RuntimeError), match=message) as caught:
        read(root, lines)
    assert "table.csv" in str(caught.value) and "\n" not in str(caught.value)
