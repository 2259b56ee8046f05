"""Groups in a .csv file, as spreadsheets and other systems write it."""

import pytest

from efficientnet_tf.data.tables import group_files

NAMES = ["caf\xe9/a.jpg", "cat/a.jpg", "cat/b.JPG", "cat/c.jpg"]

# The file's lines, groups of `NAMES`, rows that fit none.
READ = {
    "accents in two code points": (
        ["path,group", "cafe\u0301/a.jpg,Jose\u0301"],
        ["Jos\xe9", None, None, None],
        [],
    ),
    "./ and spaces": (
        ["path,group", "./cat/a.jpg,1", " cat//b.JPG , 1 ", "x/../cat/c.jpg,2"],
        [None, "1", "1", "2"],
        [],
    ),
    "capitals": (
        ["Path, Group", "cat/A.JPG,1", "cat/b.jpg,2"],
        [None, "1", "2", None],
        [],
    ),
    "capitals that tell apart": (
        [
            "path,group",
            "cat/B.JPG,1",
            "cat/b.JPG,2",
            "cat/C.jpg,3",
            "cat/C.JPG,4",
        ],
        [None, None, "2", None],
        ["cat/B.JPG", "cat/C.jpg", "cat/C.JPG"],
    ),
    "backslashes and semicolons": (
        ["path;group", "cat\\a.jpg;1"],
        [None, "1", None, None],
        [],
    ),
    "names alone": (
        ["path\tgroup", "a.jpg\t1", "cat/a.jpg\t2"],
        ["1", "2", None, None],
        [],
    ),
    "absolute": (
        ["group,path", "1,{root}/cat/a.jpg", "1,/elsewhere/cat/c.jpg"],
        [None, "1", None, None],
        ["/elsewhere/cat/c.jpg"],
    ),
    "no group, no path, short and repeated rows": (
        [
            "path,group",
            "cat/a.jpg,",
            ",1",
            "cat/b.JPG",
            "",
            *["cat/c.jpg,1"] * 2,
        ],
        [None, None, None, "1"],
        [],
    ),
    "other images": (
        ["path,group", "cat/a.jpg,1", "dog/z.jpg,1"],
        [None, "1", None, None],
        ["dog/z.jpg"],
    ),
}


def read(tmp_path, lines):
    path = tmp_path / "groups.csv"
    text = "\r\n".join(lines).replace("{root}", str(tmp_path))
    path.write_bytes(text.encode("utf-8-sig", "surrogateescape"))
    return group_files.read(path, tmp_path)


@pytest.mark.parametrize("lines, groups, unused", READ.values(), ids=READ)
def test_rows_fit_images(tmp_path, lines, groups, unused):
    found = group_files.assign(read(tmp_path, lines), NAMES)
    assert found == (dict(zip(NAMES, groups, strict=True)), unused)


REFUSED = {
    "two groups": (
        ["path,group", "cat/a.jpg,1", "cat/b.JPG,1", "./cat/a.jpg,2"],
        "puts cat/a.jpg into two groups: '1' and, in line 4, '2'",
    ),
    "no column": (["file,group", "a,1"], "lacks the column 'path'"),
    "nothing": ([], "lacks the column 'path'"),
    "another encoding": (["path,group", "caf\udce9.jpg,1"], "no text in UTF-8"),
    "an open quote": (["path,group", '"cat/a.jpg,1'], "no .csv file: unexp"),
    "a huge cell": (
        ["path,group", "a" * 200_000 + ",1"],
        "no .csv file: field",
    ),
}


@pytest.mark.parametrize("lines, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_file_is_refused_in_a_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, lines)
    assert "groups.csv" in str(caught.value)
