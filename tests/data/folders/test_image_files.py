import os

import pytest

from efficientnet_tf.data.folders import image_files


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        ".cache/thumb.jpg",
        "deep/er/c.webp",
        "deep/[1].jpg",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


ALL = ["a.PNG", "b.jpg", "deep/[1].jpg", "deep/er/c.webp"]
CASES = {
    "file": (["photos/b.jpg"], ["photos/b.jpg"]),
    "order": (
        ["photos/b.jpg", "photos/a.PNG"],
        ["photos/b.jpg", "photos/a.PNG"],
    ),
    "folder": (["photos"], [f"photos/{name}" for name in ALL]),
    "pattern": (["photos/*.jpg"], ["photos/b.jpg"]),
    "pattern below": (
        ["photos/**/*.*p*"],
        ["photos/b.jpg", "photos/deep/[1].jpg", "photos/deep/er/c.webp"],
    ),
    "a name that looks like a pattern": (
        ["photos/deep/[1].jpg"],
        ["photos/deep/[1].jpg"],
    ),
    "pattern of folders": (["ph*"], [f"photos/{name}" for name in ALL]),
    "list": (["-"], ["photos/b.jpg", "photos/deep/er/c.webp", "no.jpg"]),
    "missing": (["no.jpg"], ["no.jpg"]),
}
LINES = b"photos/b.jpg\n\nphotos/deep/er\r\nno.jpg"


@pytest.mark.parametrize("arguments, expected", CASES.values(), ids=CASES)
def test_arguments_stand_for_files(place, arguments, expected):
    found = image_files.find(arguments, LINES)
    assert [os.fspath(path) for path in found] == expected


LISTS = {
    "nothing": (b"", []),
    "lines": (b"a.jpg\r\n\nb c.jpg\n", ["a.jpg", "b c.jpg"]),
    "a mark before UTF-8": ("\ufeffcaf\xe9.jpg\n".encode(), ["caf\xe9.jpg"]),
    "find -print0": (b"a\nb.jpg\0c.jpg\0", ["a\nb.jpg", "c.jpg"]),
    "PowerShell": ("\ufeffa.jpg\r\nb".encode("utf-16-le"), ["a.jpg", "b"]),
    "no encoding": (b"caf\xe9.jpg", ["caf\udce9.jpg"]),
    "no line end of Python's": (
        "a\u2028b\x0bc.jpg".encode(),
        ["a\u2028b\x0bc.jpg"],
    ),
}


@pytest.mark.parametrize("listed, names", LISTS.values(), ids=LISTS)
def test_lists_are_read_as_they_are_written(listed, names):
    assert image_files.read_list(listed) == names


def test_the_home_folder_is_expanded(place):
    (found,) = image_files.find(["~/photos/b*"])
    assert found == place / "photos" / "b.jpg"


def test_what_is_not_read_of_a_folder_is_counted(place, caplog):
    caplog.set_level("INFO", "absl")
    image_files.find(["photos"])
    assert (
        "photos: left out .txt files: 1 (notes.txt); hidden, system or "
        "unfinished files: 2 (.cache, .hidden.jpg)." in caplog.text
    )


@pytest.mark.parametrize("argument", ["empty", "photos/*.gif"])
def test_nothing_found_is_said(place, argument):
    with pytest.raises(ValueError, match=r"no images|matches no file"):
        image_files.find([argument])
