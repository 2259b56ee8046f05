"""Which files there are, and what a path is, without any runtime."""

import pytest

from efficientnet_tf.deploy import formats, plan


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    """All are taken for installed."""
    monkeypatch.setattr(formats.extras, "require", lambda *_: None)


@pytest.mark.parametrize(
    ("output", "names", "precisions", "paths"),
    [
        ("out", ["saved_model"], ["float32"], ["out"]),
        ("out.v1", ["saved_model"], ["float32"], ["out.v1"]),
        ("a.tflite", ["litert"], ["int8"], ["a.tflite"]),
        ("out", ["litert"], ["int8"], ["out/int8.tflite"]),
        ("out", ["saved_model", "keras"], ["float32"],
         ["out/saved_model", "out/float32.keras"]),
        ("out", ["onnx", "openvino"], ["bfloat16", "float32"],
         ["out/float32.onnx", "out/bfloat16.xml", "out/float32.xml"]),
        ("out", ["litert", "litert"], ["int8", "int8"], ["out/int8.tflite"]),
    ],
)  # fmt: skip
def test_files_are_named_by_output_format_and_precision(
    output, names, precisions, paths
):
    made = plan.make_plan(output, names, precisions)
    assert [str(target.path) for target in made.targets] == paths


def test_what_is_left_out_is_said(caplog):
    with caplog.at_level("INFO", "absl"):
        plan.make_plan("out", ["saved_model", "litert"], ["float32", "int8"])
    assert "There is no saved_model in int8." in caplog.text


@pytest.mark.parametrize(
    ("output", "names", "precisions", "message"),
    [
        ("a", ["tflite"], ["float32"], "Unknown format 'tflite'.*litert"),
        ("a", ["onnx"], ["fp16"], "Unknown precision 'fp16'.*float16"),
        ("a", ["onnx"], ["bfloat16"], "onnx has no bfloat16.*float16, int8"),
        ("a", ["keras", "onnx"], ["float32", "bfloat16"], "these have: openvi"),
        ("a.onnx", ["litert"], ["int8"], "a.onnx must end in .tflite"),
        ("a.onnx", ["onnx"], ["int8", "float32"], "a folder's name for 2 file"),
        ("a.tflite", ["keras"], ["float32"], "must end in .keras"),
    ],
)
def test_what_there_is_not_is_refused_with_the_choices(
    output, names, precisions, message
):
    with pytest.raises(ValueError, match=message):
        plan.make_plan(output, names, precisions)


@pytest.mark.parametrize(
    ("output", "names", "table"),
    [
        ("out", ["litert", "onnx"], "out/exports.md"),
        ("out", ["saved_model"], "out/exports.md"),
        ("a.onnx", ["onnx"], "a.exports.md"),
    ],
)
def test_the_table_lies_beside_the_files(output, names, table):
    made = plan.make_plan(output, names, ["float32"])
    assert str(made.table(".md")) == table


def _touch(folder, *names):
    for name in names:
        (folder / name).write_text("x")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["model.keras", "classifier.json"], ""),
        (["saved_model.pb", "classifier.json"], ""),
        (["a.tflite", "labels.txt"], "a.tflite"),
        (["a.xml", "a.bin"], "a.xml"),
    ],
)
def test_a_folder_stands_for_what_is_in_it(tmp_path, names, found):
    _touch(tmp_path, *names)
    assert formats.find(tmp_path) == tmp_path / found


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        ([], "", "holds no finished run, no SavedModel"),
        (["a.onnx", "b.xml"], "", "2 exported files; name one of a.onnx, b.x"),
        (["a.pb"], "a.pb", r"ends in none of \.keras, \.tflite"),
        ([], "a.onnx", "There is no file or folder"),
    ],
)
def test_what_is_no_classifier_is_refused(tmp_path, names, path, message):
    _touch(tmp_path, *names)
    with pytest.raises((OSError, ValueError), match=message):
        formats.find(tmp_path / path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("runs/a", "runs/a"),
        ("runs/a/model.keras", "runs/a"),
        ("runs/a/files/int8.tflite", "runs/a"),
        ("runs/a/served/net/3", "runs/a"),
        ("runs/b.onnx", None),
        ("elsewhere/x/y/z/int8.tflite", None),
    ],
)
def test_a_file_belongs_to_the_run_in_whose_folder_it_lies(
    tmp_path, path, found
):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    _touch(tmp_path / "runs" / "a", "model.keras", "classifier.json")
    run = formats.find_run(tmp_path / path)
    assert run == (None if found is None else tmp_path / found)
