import json
import os
import signal
import subprocess
import sys

import pytest

from efficientnet_tf.utils import files


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a" / "file.txt"
    with files.atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, kind):
    synced = []

    def sync(descriptor):
        path = os.path.realpath(f"/proc/self/fd/{descriptor}")
        synced.append((os.path.basename(path), (tmp_path / kind).exists()))

    monkeypatch.setattr(os, "fsync", sync)
    with files.atomic(tmp_path / kind) as temporary:
        if kind == "folder":
            (temporary / "inner").mkdir(parents=True)
            (temporary / "inner" / "a").write_text("a")
        else:
            temporary.write_text("a")
    names = ["inner", "a"] if kind == "folder" else []
    names.append(temporary.name)
    # Then the folder around it, which holds the name.
    expected = [(name, False) for name in names] + [(tmp_path.name, True)]
    assert sorted(synced) == sorted(expected) and synced[-1] == expected[-1]


def test_an_appended_line_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    files.append_json_line(tmp_path / "rows.jsonl", {"a": 1})
    assert len(synced) == 1


def test_a_folder_is_replaced_whole_and_removed_on_an_error(tmp_path):
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with files.atomic(path) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert os.listdir(path) == ["second"]
    with pytest.raises(ValueError), files.atomic(path) as temporary:
        temporary.mkdir()
        (temporary / "third").write_text("half")
        raise ValueError
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(path) == ["second"]


def test_what_a_kill_leaves_is_removed_and_the_rest_stays(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from efficientnet_tf.utils import files\n"
        "with files.atomic(sys.argv[1] + '/folder') as temporary:\n"
        "    temporary.mkdir()\n"
        "    (temporary / 'half').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "kept").write_text("x")
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["kept"]


def test_a_cache_that_is_too_large_loses_what_is_longest_unused(tmp_path):
    for age, name in enumerate(("new", "middle", "old", ".tmp-1-begun")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "locks").mkdir()
    files.prune(tmp_path, 200)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"new", "middle", "locks"}
    files.prune(tmp_path, 99)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"locks"}


def test_json_is_written_whole(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, None]}


# What stands in the file, and the rows after {"a": 9} was appended to it.
APPENDED = {
    "missing": (None, [{"a": 9}]),
    "empty": ("", [{"a": 9}]),
    "whole": ('{"a": 1}\n', [{"a": 1}, {"a": 9}]),
    "torn": ('{"a": 1}\n{"a": 2, "b', [{"a": 1}, {"a": 9}]),
    "torn first line": ('{"a', [{"a": 9}]),
    "no end of line": ('{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}, {"a": 9}]),
}


@pytest.mark.parametrize("before,rows", APPENDED.values(), ids=APPENDED)
def test_appending_after_a_kill_keeps_every_whole_line(tmp_path, before, rows):
    path = tmp_path / "rows.jsonl"
    if before is not None:
        path.write_text(before)
    files.append_json_line(path, {"a": 9})
    assert files.read_json_lines(path) == rows
    # Every line of the file is JSON again, for readers that are not ours.
    assert [json.loads(line) for line in path.read_text().split("\n") if line]


def test_reading_leaves_a_torn_last_line_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2')
    assert files.read_json_lines(path) == [{"a": 1}]


def test_a_folder_that_cannot_be_is_refused_and_nothing_is_made(tmp_path):
    files.check_folder(tmp_path / "new" / "er")
    assert not os.listdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match="file is a file"):
            files.check_folder(path)
