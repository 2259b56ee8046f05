"""An export onto a file system without room, in each format."""

import errno
import os

import pytest

import disks
import samples
from efficientnet_tf.deploy import export, layouts, plan, scorecard
from efficientnet_tf.utils import files

for package in ("ai_edge_litert", "onnxruntime", "openvino", "tf2onnx", "nncf"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def original():
    return samples.make_classifier(samples.make_images(20))


# (format, KiB of the disk): less than the file takes. Those that write by
# Python alone differ little.
DISKS = [
    ("saved_model", 200),
    ("keras", 60),
    ("openvino", 60),
    pytest.param("litert", 20, marks=pytest.mark.slow),
    pytest.param("onnx", 20, marks=pytest.mark.slow),
    pytest.param("triton", 60, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name, kilobytes", DISKS)
def test_a_full_disk_is_named_and_nothing_is_left(
    original, tmp_path, name, kilobytes
):
    with disks.mount(tmp_path / "disk", kilobytes) as disk:
        (disk / "earlier").write_text("an export")
        output = disk / "new" / "out"
        made = plan.make_plan(output, [name], ["float32"])
        with pytest.raises(OSError) as caught:
            export.export(original, made)
        line = files.explain_error(caught.value)
        assert line.startswith(f"No space left on device: {disk}/new")
        assert [path.name for path in disk.rglob("*")] == ["earlier"]


def test_a_version_that_does_not_fit_leaves_the_former_ones(tmp_path):
    with disks.mount(tmp_path / "disk", 40) as disk:
        (tmp_path / "exported" / "variables").mkdir(parents=True)
        (tmp_path / "exported" / "saved_model.pb").write_bytes(bytes(30_000))
        (tmp_path / "exported" / "variables" / "a").write_bytes(bytes(30_000))
        (disk / "old" / "1").mkdir(parents=True)
        (disk / "old" / "1" / "saved_model.pb").write_text("")
        for base in ("old", "new"):
            with pytest.raises(OSError, match="No space left on device"):
                layouts.write_tf_serving(
                    tmp_path / "exported", disk / base, ["a"]
                )
        left = {str(path.relative_to(disk)) for path in disk.rglob("*")}
        assert left == {"old", "old/1", "old/1/saved_model.pb"}


def test_a_table_that_does_not_fit_keeps_former_files_as_they_are(
    original, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    made = plan.make_plan(output, ["keras"], ["float32"])
    output.mkdir()
    (output / "float32.keras").write_text("a former one")
    (output / "exports.json").write_text("{}")

    def fail(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    times = {"p50_ms": 1.0, "p95_ms": 1.0, "images_per_second": 1.0}
    monkeypatch.setattr(
        scorecard, "time_all", lambda opened: dict.fromkeys(opened, times)
    )
    monkeypatch.setattr(layouts, "write_labels", fail)
    with pytest.raises(OSError) as caught:
        export.export(original, made)
    assert caught.value.errno == errno.EDQUOT
    assert caught.value.filename == str(output)
    assert (output / "float32.keras").read_text() == "a former one"
    assert (output / "exports.json").read_text() == "{}"
    assert len([*output.iterdir()]) == 2


@pytest.mark.parametrize("name", ["saved_model", "tf_serving", "onnx"])
def test_a_file_in_the_place_of_a_folder_is_named_before_any_work(
    tmp_path, name
):
    (tmp_path / "out").write_text("")
    for output in (tmp_path / "out", tmp_path / "out" / "further"):
        made = plan.make_plan(output, [name], ["float32"])
        with pytest.raises(OSError, match="out is a file, not a folder"):
            plan.check_paths(made)
