"""A run to a hub on this machine, and back."""

import importlib
import json
import shutil
import time

import numpy as np
import pytest
from absl import logging

import hub_server
import samples
from efficientnet_tf.deploy import card, repository, runtimes, uploading
from efficientnet_tf.inference import classifier
from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import downloads, hub

huggingface_hub = pytest.importorskip("huggingface_hub")

NAME = "anna/flowers"
HUB_NAME = f"hf://{NAME}"
ABOUT = card.About("efficientnet_lite0", license="mit", repository=NAME)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, with paths in all that is not to be shared."""
    folder = tmp_path_factory.mktemp("here") / "run"
    original = samples.make_classifier(samples.make_images(8))
    original.save(folder)
    config = {"task": f"folder:{folder.parent}/photos", "model": "x.json"}
    (folder / "config.json").write_text(json.dumps(config))
    row = {"file": "/home/anna/x.jpg", "top1": 0.5}
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "images.csv").write_text(
        "split,label,path,size,mtime_ns,sha256\n"
        "test,a,a/bob at sea.jpg,1,1,00\n"
    )
    return folder


@pytest.fixture(scope="module")
def composed(run):
    """What is shared of the run."""
    repository.write(run.parent / "composed", run, ABOUT)
    return run.parent / "composed"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_server.running() as served:
        monkeypatch.setenv(hub.ENDPOINT_VARIABLE, served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv(hub.TOKEN_VARIABLE, hub_server.TOKEN)
        monkeypatch.delenv(downloads.MIRROR_VARIABLE, raising=False)
        cache = str(tmp_path / "cache")
        monkeypatch.setenv(cache_folder.CACHE_VARIABLE, cache)
        # Its own storage of large files speaks a protocol of its own.
        constants = importlib.import_module("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        # Between its tries of what fails.
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield served


def _write(run, folder, **choice):
    return repository.write(folder, run, ABOUT, repository.Choice(**choice))


def _upload(folder, name=NAME, token=hub_server.TOKEN, **options):
    return uploading.upload(folder, name, token, **options)


def test_the_folder_has_what_others_need_and_nothing_else(run, tmp_path):
    folder = tmp_path / "out"
    assert _write(run, folder) == ""
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md",
        "classifier.json",
        "labels.txt",
        "model.keras",
    }
    text = (folder / "README.md").read_text()
    assert f'load_classifier("{HUB_NAME}")' in text
    found = classifier.from_run(folder)
    assert found.class_names == samples.CLASS_NAMES
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    for trace in (b"/home/anna", str(run.parent).encode(), b"bob at sea"):
        assert trace not in everything
    _write(run, folder)  # Again, over itself.
    (folder / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="holds mine.txt; choose another"):
        _write(run, folder)


@pytest.mark.parametrize("text", ["bob at sea.jpg", "{run}/x", "folder:{up}"])
def test_a_report_that_names_images_or_paths_is_asked_for(run, tmp_path, text):
    workdir = tmp_path / "run"
    workdir.mkdir()
    traces = repository.find_traces(
        workdir, {"task": f"folder:{run.parent}/photos"}, run
    )
    report = workdir / "report.html"
    with pytest.raises(FileNotFoundError, match="has no report.html"):
        repository.copy_report(workdir, tmp_path, True, traces)
    assert repository.copy_report(workdir, tmp_path, None, traces) == ""
    report.write_text(
        "<p>" + text.format(run=workdir, up=f"{run.parent}/photos")
    )
    note = repository.copy_report(workdir, tmp_path, None, traces)
    assert note.startswith("report.html is left out, as it names ")
    assert repository.copy_report(workdir, tmp_path, False, traces) == ""
    assert not (tmp_path / "report.html").exists()
    assert repository.copy_report(workdir, tmp_path, True, traces) == ""
    assert (tmp_path / "report.html").exists()
    report.write_text("<p>96 %")
    assert repository.copy_report(workdir, tmp_path, None, traces) == ""
    assert (tmp_path / "report.html").read_text() == "<p>96 %"


def test_a_path_in_a_file_ends_it_before_anything_is_there(run, tmp_path):
    run = shutil.copytree(run, tmp_path / "run")
    settings = json.loads((run / "classifier.json").read_text())
    settings["class_names"][0] = f"{run}/a"
    (run / "classifier.json").write_text(json.dumps(settings))
    with pytest.raises(
        RuntimeError, match="of this machine; nothing is shared"
    ):
        _write(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exported_files_are_of_this_network(run, tmp_path):
    exports = tmp_path / "exports"
    exports.mkdir()
    with pytest.raises(FileNotFoundError, match="exports.json is missing"):
        _write(run, tmp_path / "out", exports=exports)
    table = {"network_sha256": "0", "rows": [], "network": str(run)}
    (exports / "exports.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match="of another network than the run's"):
        _write(run, tmp_path / "out", exports=exports)
    assert not (tmp_path / "out").exists()


def test_what_is_shared_is_loaded_as_it_is_now(
    run, composed, server, tmp_path, caplog
):
    shared = _upload(composed)
    assert shared.url == f"{server.url}/{NAME}" and not shared.private
    there = server.repositories[NAME]
    assert set(there.files) == {path.name for path in composed.iterdir()}
    images = samples.make_images(3)
    expected = classifier.from_run(run).model.predict_on_batch(images)
    found = runtimes.load_classifier(HUB_NAME)
    assert found.settings == classifier.from_run(run).settings
    np.testing.assert_array_equal(
        found.model.predict_on_batch(images), expected
    )
    # Another network under the same name, and files that go.
    other = samples.make_classifier(images)
    other.save(tmp_path / "other")
    there.commit({**there.files, "exports/int8.onnx": b"old", "mine.md": b"x"})
    _write(tmp_path / "other", tmp_path / "out")
    new = _upload(tmp_path / "out")
    assert "exports/int8.onnx" not in there.files and "mine.md" in there.files
    expected_new = other.model.predict_on_batch(images)
    found = runtimes.load_classifier(HUB_NAME).model.predict_on_batch(images)
    np.testing.assert_array_equal(found, expected_new)
    old = runtimes.load_classifier(f"{HUB_NAME}@{shared.commit}")
    np.testing.assert_array_equal(old.model.predict_on_batch(images), expected)
    assert new.commit != shared.commit
    # Without the hub, what is in the cache; other names are not there.
    server.broken = ("HEAD", "")
    logging.set_verbosity(logging.INFO)
    found = runtimes.load_classifier(HUB_NAME).model.predict_on_batch(images)
    np.testing.assert_array_equal(found, expected_new)
    assert "The copy in the cache is used" in caplog.text
    with pytest.raises(OSError, match="cannot reach"):
        runtimes.load_classifier("hf://anna/other")


def test_a_repository_without_a_classifier_is_refused(server):
    with pytest.raises(ValueError, match="no such repository"):
        runtimes.load_classifier(HUB_NAME)
    server.repositories[NAME] = hub_server.Repository()
    with pytest.raises(ValueError, match="holds no model.keras and classifier"):
        runtimes.load_classifier(HUB_NAME)


def test_private_stays_private(composed, server, tmp_path, monkeypatch):
    assert _upload(composed, private=True).private
    assert runtimes.load_classifier(HUB_NAME).class_names
    assert _upload(composed).private
    monkeypatch.delenv(hub.TOKEN_VARIABLE)
    with pytest.raises(PermissionError, match="or it is private"):
        runtimes.load_classifier(HUB_NAME)
    # `hf auth login` has saved it.
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "token").write_text(f"{hub_server.TOKEN}\n")
    assert runtimes.load_classifier(HUB_NAME).class_names
    server.repositories[NAME].private = False
    with pytest.raises(FileExistsError, match="is there and public"):
        _upload(composed, private=True)


def test_what_is_there_of_others_stays(composed, server, caplog):
    server.repositories[NAME] = hub_server.Repository()
    there = server.repositories[NAME]
    there.commit({".gitattributes": b"", "config.json": b"{}"})
    with pytest.raises(FileExistsError, match="holds config.json, which is no"):
        _upload(composed)
    # As the hub's page makes it.
    there.commit(
        {".gitattributes": b"", "README.md": b"---\nlicense: mit\n---"}
    )
    _upload(composed)
    assert card.is_own(there.files["README.md"].decode())
    there.commit({**there.files, "README.md": b"---\na: b\n---\nBy hand."})
    _upload(composed)
    assert there.files["README.md"].endswith(b"By hand.")
    assert "was written by hand and stays as it is" in caplog.text


@pytest.mark.parametrize(
    "options,broken,kind,message",
    [
        ({"token": "wrong"}, None, PermissionError, "does not take your token"),
        (
            {"name": "bob/x"},
            None,
            PermissionError,
            "may not write there .* 403",
        ),
        ({}, ("PUT", "/lfs/"), OSError, "no upload to http.*nothing has chang"),
        ({}, ("POST", "/commit/"), OSError, "nothing has changed there"),
        (
            {},
            ("GET", "/api/models"),
            OSError,
            "no upload to http.*Run the same",
        ),
        ({}, ("POST", "/create"), OSError, "no upload to http.*Run the same"),
    ],
)
def test_a_refused_or_broken_upload_is_a_line_and_changes_nothing(
    composed, server, options, broken, kind, message
):
    server.broken = broken
    with pytest.raises(kind, match=message) as caught:
        _upload(composed, **options)
    assert "\n" not in str(caught.value)
    for there in server.repositories.values():
        assert there.files == {}
    if options:
        return
    server.broken = None  # The same again.
    _upload(composed)
    assert "model.keras" in server.repositories[NAME].files


def test_name_package_and_token_are_checked_before_any_work(
    server, monkeypatch
):
    assert uploading.check(NAME) == hub_server.TOKEN
    for name in ("flowers", "a/b/c", "a/b@v1", "../x", "a/b c", ""):
        with pytest.raises(ValueError, match="must be USER/NAME"):
            uploading.check(name)
    monkeypatch.delenv(hub.TOKEN_VARIABLE)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(PermissionError, match="no token .* `hf auth login`"):
        uploading.check(NAME)
    assert server.requests == []
