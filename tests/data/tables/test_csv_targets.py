"""Tables with several labels an image, or with numbers."""

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data.folders import target_values
from efficientnet_tf.data.sets import sources
from efficientnet_tf.data.tables import csv_lists
from efficientnet_tf.utils import folder_options, targets

IMAGES = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for i in range(IMAGES):
        pixels = noise.integers(0, 255, (8, 8, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def read(root, lines, **columns):
    path = root / "table.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return csv_lists.read(path, folder_options.Options(**columns))


# Lines, columns, {file: vector}.
READ = {
    "bars": (
        ["path,labels", "0.png,b|a", "1.png,", "2.png,a | a"],
        {},
        {"0.png": (1, 1), "1.png": (0, 0), "2.png": (1, 0)},
    ),
    "semicolons in tags": (
        ["image,Tags", "0.png,b;a", "1.png,a", "2.png,b;"],
        {},
        {"0.png": (1, 1), "1.png": (1, 0), "2.png": (0, 1)},
    ),
    "quoted commas": (
        ["path,labels", '0.png,"b,a"', "1.png,a"],
        {},
        {"0.png": (1, 1), "1.png": (1, 0)},
    ),
    "words, as Planet has them": (
        ["path,tags", "0.png,b a", "1.png,a", "2.png,b"],
        {},
        {"0.png": (1, 1), "1.png": (1, 0), "2.png": (0, 1)},
    ),
    "names with spaces": (
        ["path,labels", "0.png,New York", "1.png,Los Angeles"],
        {},
        {"0.png": (0, 1), "1.png": (1, 0)},
    ),
    "columns of 0 and 1": (
        ["path,rust,scab,other", "0.png,0,1,x", "1.png,1.0,TRUE,y"],
        {"labels": ("scab", "rust")},
        {"0.png": (1, 0), "1.png": (1, 1)},
    ),
    "numbers": (
        ["path,age,height", "0.png,3,-1e2", "1.png, 4.5 ,0.25"],
        {"targets": ("height", "age")},
        {"0.png": (-100, 3), "1.png": (0.25, 4.5)},
    ),
    "a number that is also a role": (
        ["path,label,weight", "0.png,x,2", "1.png,y,3"],
        {"targets": ("weight",)},
        {"0.png": (2,), "1.png": (3,)},
    ),
}


@pytest.mark.parametrize("lines, columns, vectors", READ.values(), ids=READ)
def test_labels_and_numbers_are_read(root, lines, columns, vectors):
    layout = read(root, lines, **columns)
    found = {
        file.name: layout.values.to_vector(text)
        for text, own in layout.listed[None].items()
        for file in own
    }
    assert found == vectors
    assert not layout.weights


NUMBERS = {"targets": ("age",)}
# Lines, columns, message.
REFUSED = {
    "no number": (
        ["path,age", "0.png,3", "1.png,old"],
        NUMBERS,
        "3, age: 'old'",
    ),
    "not finite": (
        ["path,age", "0.png,inf", "1.png,nan"],
        NUMBERS,
        "in 2 cells",
    ),
    "an empty cell": (["path,age", "0.png,3", "1.png,"], NUMBERS, "3, age: ''"),
    "no such column": (["path,Agee", "0.png,3"], NUMBERS, "column 'age'.*Agee"),
    "neither 0 nor 1": (
        ["path,rust", "0.png,1", "1.png,2"],
        {"labels": ("rust",)},
        "neither 0 nor 1 .*line 3, rust: '2'",
    ),
    "two spellings": (
        ["path,labels", "0.png,cat|dog", "1.png,Cat"],
        {},
        "'Cat' .1. and 'cat'",
    ),
    "one image, two ages": (
        ["path,age", "0.png,3", "0.png,4"],
        NUMBERS,
        "two values of age, '3' and '4'",
    ),
    "one image, two sets": (
        ["path,labels", "0.png,a|b", "0.png,a"],
        {},
        "two labels, 'a.b' and 'a'",
    ),
    "no label at all": (["path,labels", "0.png,", "1.png,"], {}, "no label in"),
    "labels and numbers": (
        ["path,age", "0.png,3"],
        {"labels": ("age",), "targets": ("age",)},
        "exclude each other",
    ),
    "twice the same": (
        ["path,age", "0.png,3"],
        {"targets": ("age", "age")},
        "different columns",
    ),
}


@pytest.mark.parametrize(
    "lines, columns, message", REFUSED.values(), ids=REFUSED
)
def test_what_cannot_be_used_is_refused_in_a_line(
    root, lines, columns, message
):
    with pytest.raises((ValueError, RuntimeError), match=message) as caught:
        read(root, lines, **columns)
    assert "\n" not in str(caught.value)


def load(root, rows, kinds=targets.KINDS, header="path,labels", **columns):
    read(root, [header, *rows], **columns)
    return sources.load_splits(
        f"csv:{root / 'table.csv'}",
        ("train", "validation", "test"),
        options=folder_options.Options(**columns),
        kinds=kinds,
    )


def test_each_split_has_images_of_each_label(root):
    rows = [f"{i}.png,{'rare|' if i % 10 == 0 else ''}all" for i in range(39)]
    loaded = load(root, [*rows, "39.png,"])
    assert sum(part.size for part in loaded.values()) == IMAGES
    for part in loaded.values():
        assert part.class_names == ("all", "rare")
        assert part.read_labels().dtype == np.float32
        assert part.read_labels()[:, 1].any()


def test_what_cannot_be_learnt_is_refused(root):
    for rows, message in (
        ([f"{i}.png,a" for i in range(IMAGES)], "every training image .* 'a'"),
        (
            ["0.png,rare", *(f"{i}.png," for i in range(1, 9))],
            "rare' .* 1 image",
        ),
    ):
        with pytest.raises(RuntimeError, match=message):
            load(root, rows)
    rows = [f"{i}.png,{i},7" for i in range(IMAGES)]
    columns = {"targets": ("a", "b"), "header": "path,a,b"}
    with pytest.raises(RuntimeError, match="b is 7 in all training images"):
        load(root, rows, **columns)


def test_a_command_for_classes_refuses_them(root):
    rows = [f"{i}.png,{'a|b' if i % 2 else 'a'}" for i in range(IMAGES)]
    with pytest.raises(ValueError, match="one class an image, but csv:"):
        load(root, rows, kinds=(targets.CLASS,))


def test_a_resumed_list_keeps_its_labels(root, tmp_path):
    rows = [f"{i}.png,{('a|b', 'b|c', 'c')[i % 3]}" for i in range(30)]
    read(root, ["path,labels", *rows])
    names = ("train", "validation", "test")
    task, options = f"csv:{root / 'table.csv'}", folder_options.Options()
    first = sources.load_splits(
        task, names, options=options.begin(tmp_path, False), kinds=targets.KINDS
    )
    read(root, ["path,labels", *rows, "35.png,a|new"])
    again = sources.load_splits(
        task, names, options=options.begin(tmp_path, True), kinds=targets.KINDS
    )
    for name in names:
        assert first[name].class_names == again[name].class_names
        assert first[name].fingerprint == again[name].fingerprint
        np.testing.assert_array_equal(
            first[name].read_labels(), again[name].read_labels()
        )
    read(root, ["path,labels", "0.png,a", *rows[1:]])
    with pytest.raises(RuntimeError, match="1 with another label"):
        sources.load_splits(
            task,
            names,
            options=options.begin(tmp_path, True),
            kinds=targets.KINDS,
        )


def test_a_separator_is_what_occurs():
    for cells, separator in (
        (("a|b", "a;b"), "|"),
        (("a b", "b c", "a", "c"), " "),
        (("New York", "Paris"), ""),
        (("a", ""), ""),
    ):
        assert target_values.find_separator(cells) == separator
