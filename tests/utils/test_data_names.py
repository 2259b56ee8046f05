"""How data sets are named."""

import pytest

from efficientnet_tf.utils import data_names

NAMES = {
    "cifar10": (None, "cifar10"),
    "folder:a:b": (data_names.FOLDER, "a:b"),
    "csv:x/y.csv": (data_names.CSV, "x/y.csv"),
    "tfds:beans": (data_names.TFDS, "beans"),
    "records:/r": (data_names.RECORDS, "/r"),
    "hf:user/name": (data_names.HF, "user/name"),
    "csv:": (None, "csv:"),
    "hdf5:x": (None, "hdf5:x"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_a_kind(name):
    assert data_names.parse(name) == NAMES[name]


def test_every_kind_is_in_the_help():
    for kind in data_names.KINDS:
        assert f"{kind.prefix}{kind.rest}" in data_names.FORMS


def test_one_set_has_several_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data_names.is_same("csv:a.csv", f"csv:{tmp_path}/x/../a.csv")
    assert data_names.is_same("cifar10", "cifar10")
    for one, other in (
        ("folder:a", "records:a"),
        ("csv:a.csv", "csv:b.csv"),
        ("cifar10", "tfds:cifar10"),
    ):
        assert not data_names.is_same(one, other)


def test_what_is_not_there_is_said_before_any_work(tmp_path):
    (tmp_path / "a.csv").touch()
    data_names.check(f"csv:{tmp_path}/a.csv")
    for name, kind, message in (
        (f"csv:{tmp_path}/b.csv", FileNotFoundError, "no file .*b.csv"),
        (f"csv:{tmp_path}", IsADirectoryError, f"write folder:{tmp_path}"),
        (f"records:{tmp_path}/a.csv", NotADirectoryError, "is a file"),
        (f"folder:{tmp_path}/none", FileNotFoundError, "no folder"),
    ):
        with pytest.raises(kind, match=message):
            data_names.check(name)


def test_a_path_without_its_prefix_gets_one():
    assert data_names.suggest("photos") == "folder:photos"
    assert data_names.suggest("x/Labels.CSV") == "csv:x/Labels.CSV"
