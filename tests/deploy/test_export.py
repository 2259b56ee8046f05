"""Every format and precision of one small network, written, read, run."""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

import samples
from efficientnet_tf.deploy import (
    card,
    card_loading,
    export,
    formats,
    keras_file,
    plan,
    runtimes,
    scorecard,
)
from efficientnet_tf.inference import classifier
from efficientnet_tf.utils import extras

SIZE = 32
NAMES = samples.CLASS_NAMES

for package in ("ai_edge_litert", "onnxruntime", "openvino", "tf2onnx", "nncf"):
    pytest.importorskip(package)


PLAIN = {name: row for name, row in formats.FORMATS.items() if not row.layout}


@pytest.fixture(scope="module")
def original(images):
    return samples.make_classifier(images)


@pytest.fixture(scope="module")
def images():
    return samples.make_images(40, SIZE)


@pytest.fixture(scope="module")
def exported(original, images, tmp_path_factory):
    """(folder, rows) of all formats in all precisions."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    made = plan.make_plan(folder, list(PLAIN), formats.PRECISIONS)
    labels = original.model.predict_on_batch(images[:20]).argmax(-1)
    held = scorecard.Held([(images[:20], labels)], range(4))
    rows = export.export(
        original, made, held=held, calibration=images[20:], max_loss=100,
        facts={"network": "small"},
    )  # fmt: skip
    return folder, rows


FILES = [
    (f"{precision}{row.suffix}" if row.suffix else name)
    for name, row in PLAIN.items()
    for precision in row.precisions
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_predicts_as_keras_does(exported, original, images, name):
    found = runtimes.load_classifier(exported[0] / name)
    assert found.settings == original.settings
    expected = original.model.predict_on_batch(images)
    spread = expected.max(0) - expected.min(0)
    assert spread.max() > 0.2  # It tells images apart.
    probabilities = found.model.predict_on_batch(images)
    assert probabilities.shape == (40, 4)
    assert np.asarray(probabilities).dtype == np.float32
    difference = np.abs(probabilities - expected).max()
    precision = name.split(".")[0]
    if precision in ("int8", "bfloat16"):
        # Noise as weights loses more than trained ones, but is no other.
        assert difference > 1e-6
        alike = np.corrcoef(probabilities.ravel(), expected.ravel())[0, 1]
        assert alike > 0.8
    elif precision == "float16":
        assert 1e-6 < difference <= 0.01
    else:
        assert difference <= 1e-4
    # One image, and as many as are no multiple of anything.
    for count in (1, 7):
        some = found.model.predict_on_batch(images[:count])
        np.testing.assert_allclose(some, probabilities[:count], atol=1e-4)


def test_the_table_has_a_row_for_keras_and_each_file(exported):
    folder, rows = exported
    assert [row["file"] for row in rows] == [scorecard.REFERENCE, *FILES]
    table = json.loads((folder / "exports.json").read_text())
    assert table["rows"] == rows
    assert table["network"] == "small"
    assert table["processor"]["cores"] >= 1
    for row in rows:
        assert row["images"] == 20
        assert row["top1"] == pytest.approx(1 - row["loss"])
        assert row["p95_ms"] >= row["p50_ms"] > 0
    sizes = {row["file"]: row.get("megabytes") for row in rows}
    assert sizes["int8.xml"] > (folder / "int8.bin").stat().st_size / 1e6
    assert len((folder / "exports.md").read_text().splitlines()) == 2 + len(
        rows
    )
    assert (folder / "labels.txt").read_text().splitlines()[:3] == [*NAMES[:3]]
    left = {path.name for path in folder.iterdir()}
    assert not [name for name in left if name.startswith(".")]


@pytest.mark.parametrize("name", card_loading.SNIPPETS)
def test_the_cards_code_for_a_format_gives_the_same_probabilities(
    exported, original, images, name
):
    (file,) = {r["file"] for r in exported[1] if r["format"] == name} & {
        "saved_model",
        f"float32{formats.FORMATS[name].suffix}",
    }
    code = card_loading.fill(name, file)
    assert code in (exported[0] / card.FILE).read_text()
    place = {"images": images}
    exec(card_loading.fill(name, exported[0] / file), place)
    expected = original.model.predict_on_batch(images)
    np.testing.assert_allclose(place["probabilities"], expected, atol=1e-4)


def test_a_card_that_was_changed_by_hand_stays(exported, original, caplog):
    folder = exported[0]
    text = (folder / card.FILE).read_text()
    assert card.is_own(text) and not card.is_own(text.replace("4", "5"))
    table = folder / "exports.json"
    new = exported[0].parent
    made = card.write(folder, new, original, card.UNKNOWN, table)
    assert made == {new / card.FILE: folder / card.FILE}
    assert (new / card.FILE).read_text() == text
    (folder / card.FILE).write_text(f"{text}mine")
    assert card.write(folder, new, original, card.UNKNOWN, table) == {}
    assert "was changed by hand and stays as it is" in caplog.text
    (folder / card.FILE).write_text(text)


def test_files_have_one_input_and_the_named_output(exported):
    import onnxruntime

    folder = exported[0]
    for precision in formats.FORMATS["onnx"].precisions:
        session = onnxruntime.InferenceSession(folder / f"{precision}.onnx")
        (image,) = session.get_inputs()
        (output,) = session.get_outputs()
        assert (image.name, output.name) == ("images", "probabilities")
        assert image.shape == ["N", SIZE, SIZE, 3]
        assert output.shape == ["N", 4]


def test_litert_has_only_its_own_operations_and_int8_only_integers(exported):
    from ai_edge_litert import interpreter

    for precision in formats.FORMATS["litert"].precisions:
        path = str(exported[0] / f"{precision}.tflite")
        found = interpreter.Interpreter(path)
        operations = {op["op_name"] for op in found._get_ops_details()}
        assert not [name for name in operations if name.startswith("Flex")]
        kinds = {np.dtype(t["dtype"]).name for t in found.get_tensor_details()}
        assert ("int8" in kinds) == (precision == "int8")


def test_a_saved_model_of_another_resolution_is_refused(exported, tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(exported[0] / "saved_model", folder)
    text = folder / "classifier.json"
    settings = json.loads(text.read_text())
    text.write_text(json.dumps({**settings, "resolution": SIZE + 1}))
    with pytest.raises(ValueError, match="32 x 32 pixels, but classifier.json"):
        runtimes.load_classifier(folder)


def test_a_sound_file_of_others_is_asked_for_its_classes(exported, tmp_path):
    import onnx

    model = onnx.load(exported[0] / "float32.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError, match="a.onnx does not say what its"):
        runtimes.load_classifier(tmp_path / "a.onnx")


def test_a_saved_model_is_called_a_program_once(exported, caplog):
    with caplog.at_level("WARNING", "absl"):
        runtimes.load_classifier(exported[0] / "saved_model")
    assert caplog.text.count("can read and write files") == 1


def _change_names(text, count):
    settings = json.loads(text)
    settings["class_names"] = settings["class_names"][:count]
    return json.dumps(settings)


def test_a_file_with_other_classes_than_its_names_is_refused(
    exported, tmp_path
):
    import onnx

    path = tmp_path / "a.onnx"
    model = onnx.load(exported[0] / "float32.onnx")
    (entry,) = model.metadata_props
    entry.value = _change_names(entry.value, 3)
    onnx.save(model, path)
    with pytest.raises(ValueError, match="gives 4 probabilities, but names 3"):
        runtimes.load_classifier(path)
    text = exported[0] / "saved_model" / "classifier.json"
    sound = text.read_text()
    text.write_text(_change_names(sound, 3))
    try:
        with pytest.raises(ValueError, match="4 probabilities, but classifier"):
            runtimes.load_classifier(text.parent)
    finally:
        text.write_text(sound)


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.startswith("float32")]
)
@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_file_is_refused_in_a_line(exported, tmp_path, name, damage):
    path = tmp_path / name
    data = (exported[0] / name).read_bytes()
    path.write_bytes(
        {"cut": data[: len(data) // 2], "empty": b"", "other": b"x" * 999}[
            damage
        ]
    )
    weights = (exported[0] / name).with_suffix(".bin")
    if name.endswith(".xml"):
        (tmp_path / weights.name).write_bytes(weights.read_bytes())
    with pytest.raises(ValueError) as caught:
        runtimes.load_classifier(path)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message and len(message) < 600


def test_a_tensor_that_claims_gigabytes_is_refused(exported, tmp_path):
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(exported[0] / "float32.tflite")
    (graph,) = model.subgraphs
    computed = graph.operators[len(graph.operators) // 2].outputs[0]
    graph.tensors[computed].shape[-1] = 1 << 26
    path = tmp_path / "x.tflite"
    flatbuffer_utils.write_model(model, path)
    with pytest.raises(ValueError, match="x.tflite claims a tensor of"):
        runtimes.load_classifier(path)


def test_a_batch_size_is_fixed_on_request(original, images, tmp_path):
    path = tmp_path / "a.onnx"
    made = plan.make_plan(path, ["onnx"], ["float32"])
    export.export(original, made, batch_size=3)
    found = runtimes.load_classifier(path)
    assert found.model.batch_size == 3
    expected = original.model.predict_on_batch(images[:7])
    np.testing.assert_allclose(
        found.model.predict_on_batch(images[:7]), expected, atol=1e-4
    )
    assert {p.name for p in tmp_path.iterdir()} == {
        "a.onnx", "a.exports.json", "a.exports.md"
    }  # fmt: skip


@pytest.mark.slow
def test_int8_is_calibrated_by_batches_of_the_files_size(
    original, images, tmp_path
):
    # More than there are images, which are then repeated.
    names = ["litert", "onnx", "openvino"]
    made = plan.make_plan(tmp_path / "out", names, ["int8"])
    export.export(original, made, calibration=images[:4], batch_size=6)
    expected = original.model.predict_on_batch(images)
    for path in (tmp_path / "out").glob("int8.*"):
        if path.suffix != ".bin":
            found = runtimes.load_classifier(path)
            assert found.model.batch_size == 6
            found = found.model.predict_on_batch(images)
            assert np.abs(found - expected).mean() < 0.05, path


@pytest.mark.slow  # Five exports.
def test_a_folders_files_are_of_one_network_and_one_table_has_them_all(
    original, images, tmp_path, caplog
):
    labels = original.model.predict_on_batch(images).argmax(-1)
    held = scorecard.Held([(images, labels)], range(4))
    facts = {"dataset": "folder:photos", "split": "test"}
    folder = tmp_path / "out"

    def write(names, classifier=original, **changed):
        made = plan.make_plan(folder, names, ["float32"])
        export.export(classifier, made, held=held, facts=facts | changed)
        return json.loads((folder / "exports.json").read_text())["rows"]

    write(["keras", "litert"])
    names = [scorecard.REFERENCE, "float32.keras", "float32.tflite"]
    assert [row["file"] for row in write(["keras"])] == names
    assert "float32.tflite" in (folder / "exports.md").read_text()
    # Measured on other images, or gone.
    rows = write(["keras"], split="train")
    assert [row["file"] for row in rows] == names[:2]
    assert "The table no longer has float32.tflite" in caplog.text
    rows = write(["litert"], split="train")
    assert [row["file"] for row in rows] == [*names[::2], names[1]]
    (folder / "float32.keras").unlink()
    rows = write(["litert"], split="train")
    assert [row["file"] for row in rows] == names[::2]
    # The same classes and image preparation, other weights.
    network = keras.models.clone_model(original.model)
    other = dataclasses.replace(original, model=network)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(FileExistsError, match="files of another network"):
        write(["litert"], other)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_folder_of_other_things_is_no_place_for_files(tmp_path):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    made = plan.make_plan(tmp_path / "photos", ["litert", "onnx"], ["float32"])
    with pytest.raises(FileExistsError, match="holds cats, which is no export"):
        plan.check_paths(made)
    path = tmp_path / "photos" / "cat.tflite"
    plan.check_paths(plan.make_plan(path, ["litert"], ["float32"]))
    made = plan.make_plan(tmp_path / "photos", ["tf_serving"], ["float32"])
    with pytest.raises(FileExistsError, match="holds cats, which is no vers"):
        plan.check_paths(made)


class _Wrong:
    """A network that always sees the first class."""

    def predict_on_batch(self, images):
        return np.eye(4, dtype="float32")[np.zeros(len(images), int)]


def test_a_file_that_loses_too_much_is_not_kept_but_the_table_is(
    original, images, tmp_path, monkeypatch
):
    labels = original.model.predict_on_batch(images).argmax(-1)
    assert len(set(labels)) > 1
    monkeypatch.setattr(
        keras_file,
        "load",
        lambda _: classifier.Classifier(_Wrong(), **vars(original.settings)),
    )
    monkeypatch.setattr(export, "_check_difference", lambda *_: None)
    made = plan.make_plan(
        tmp_path / "out", ["keras", "saved_model"], ["float32"]
    )
    held = scorecard.Held([(images, labels)], range(4))
    with pytest.raises(
        export.TooLossyError, match="float32.keras loses .* poi"
    ):
        export.export(original, made, held=held)
    monkeypatch.undo()
    left = {path.name for path in pathlib.Path(tmp_path, "out").iterdir()}
    assert "saved_model" in left and "exports.md" in left
    assert "float32.keras" not in left
    # Its description would be of other classes than the files have.
    other = dataclasses.replace(original, class_names=("w", "x", "y", "z"))
    with pytest.raises(FileExistsError, match="is of another classifier"):
        export.export(other, made)


def test_what_is_said_of_a_lossy_file_fits_it(original, tmp_path):
    made = plan.make_plan(tmp_path / "x.keras", ["keras"], ["float32"])
    row = {"file": "x.keras", "loss": 0.1, "loss_low": 0, "loss_high": 0.2}
    row["images"] = 10

    def explain(precision):
        rows = [{**row, "precision": precision}]
        return export._explain_loss(rows, 1, made, original)

    assert explain("int8").endswith("fine-tune for int8 (--recipe=qat).")
    assert explain("float16").endswith("Take float32.")
    assert "of an earlier export" not in explain("int8")
    (tmp_path / "x.keras").write_bytes(b"")
    assert "x.keras is of an earlier export" in explain("int8")


def test_all_scored_images_must_agree_in_float32(
    original, images, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        keras_file,
        "load",
        lambda _: classifier.Classifier(_Wrong(), **vars(original.settings)),
    )
    # The first images, which are compared before, agree.
    monkeypatch.setattr(
        export, "check_equal", lambda _, opened: dict.fromkeys(opened, 0.0)
    )
    made = plan.make_plan(tmp_path / "a.keras", ["keras"], ["float32"])
    held = scorecard.Held([(images, np.zeros(len(images), int))], range(4))
    with pytest.raises(RuntimeError, match="a.keras differs from the Keras"):
        export.export(original, made, held=held, max_loss=100)
    assert not list(tmp_path.iterdir())


def test_a_float32_file_that_differs_is_not_written(
    original, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        keras_file,
        "load",
        lambda _: classifier.Classifier(_Wrong(), **vars(original.settings)),
    )
    made = plan.make_plan(tmp_path / "a.keras", ["keras"], ["float32"])
    with pytest.raises(RuntimeError, match="a.keras differs from the Keras"):
        export.export(original, made)
    assert list(tmp_path.iterdir()) == []


def test_int8_needs_images(original, tmp_path):
    made = plan.make_plan(tmp_path / "a.tflite", ["litert"], ["int8"])
    with pytest.raises(ValueError, match="needs images for calibration"):
        export.export(original, made)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_runtime_is_named_with_its_installation(
    exported, monkeypatch
):
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    with pytest.raises(ModuleNotFoundError, match=r"efficientnet-tf\[deploy\]"):
        runtimes.load_classifier(exported[0] / "float32.onnx")


def test_servers_get_versions_and_these_open_too(original, images, tmp_path):
    for _ in range(2):
        made = plan.make_plan(
            tmp_path / "models", ["tf_serving", "triton"], ["float32"]
        )
        export.export(original, made)
    models = tmp_path / "models"
    assert {p.name for p in (models / "tf_serving").iterdir()} == {"1", "2"}
    assert {p.name for p in (models / "triton").iterdir()} == {
        "1", "2", "config.pbtxt", "labels.txt"
    }  # fmt: skip
    expected = original.model.predict_on_batch(images[:3])
    for name in ("tf_serving", "triton"):
        found = runtimes.load_classifier(models / name)
        assert found.settings == original.settings
        np.testing.assert_allclose(
            found.model.predict_on_batch(images[:3]), expected, atol=1e-4
        )


def test_openvinos_weights_are_missed_by_name(exported, tmp_path):
    shutil.copy(exported[0] / "float32.xml", tmp_path / "net.xml")
    with pytest.raises(FileNotFoundError, match="net.xml needs net.bin beside"):
        runtimes.load_classifier(tmp_path / "net.xml")
