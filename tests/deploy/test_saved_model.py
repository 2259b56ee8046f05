import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data.images import decoding, headers
from efficientnet_tf.deploy import layouts, saved_model
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder

# Another process, which knows nothing of the package.
READER = """
import sys
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2], allow_pickle=False)
images = tf.constant(data["images"])
tensors = loaded.signatures["serving_default"](images=images)
encoded = [tf.io.read_file(path) for path in sys.argv[4:]]
files = loaded.signatures["serving_bytes"](encoded=tf.stack(encoded))
np.savez(
    sys.argv[3],
    tensors=tensors["probabilities"],
    files=files["probabilities"],
    names=np.array([n.decode() for n in files["class_names"].numpy()]),
    prediction=np.array([n.decode() for n in files["prediction"].numpy()]),
)
assert "efficientnet_tf" not in sys.modules
"""


@pytest.fixture(scope="module")
def small(tiny_row):
    network = builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))
    # A random head is nearly indifferent; this one is not.
    head = network.get_layer("predictions")
    kernel, bias = head.get_weights()
    head.set_weights([kernel * 30, bias])
    names = ("first", "zweite Klasse", "trois/é")
    # An export that scales 16 bits otherwise would be refused.
    return classifier.Classifier(network, names, 32, "bilinear", 4, "full")


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    """An export in place of an earlier one."""
    path = tmp_path_factory.mktemp("export") / "exported"
    path.mkdir()
    for name in ("saved_model.pb", "stale"):
        (path / name).write_bytes(b"old")
    assert saved_model.export_saved_model(small, path) <= 1e-4
    assert not (path / "stale").exists()
    return path


def test_both_signatures_give_the_models_probabilities_in_a_fresh_process(
    small, exported, tmp_path, make_folder
):
    images = make_folder(tmp_path / "images", {"a": 2, "b": 2}, size=50)
    paths = sorted(images.rglob("*.png"))
    # Two in other formats, one of them grey.
    picture = tf.io.decode_png(tf.io.read_file(str(paths[0])))
    (images / "c.jpg").write_bytes(tf.io.encode_jpeg(picture).numpy())
    (images / "d.png").write_bytes(
        tf.io.encode_png(picture[:20, :, :1]).numpy()
    )
    paths += [images / "c.jpg", images / "d.png"]
    noise = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3))
    np.savez(tmp_path / "in.npz", images=noise.astype("float32"))
    names = [exported, tmp_path / "in.npz", tmp_path / "out.npz"]
    subprocess.run(
        [sys.executable, "-c", READER, *map(str, names + paths)],
        check=True,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    found = np.load(tmp_path / "out.npz")
    expected = small.model.predict_on_batch(noise.astype("float32"))
    np.testing.assert_allclose(found["tensors"], expected, atol=1e-4)
    expected = small.predict(paths)
    assert np.ptp(expected, axis=0).max() > 0.01  # They are told apart.
    np.testing.assert_allclose(found["files"], expected, atol=1e-4)
    assert tuple(found["names"]) == small.class_names
    winners = [small.class_names[i] for i in expected.argmax(axis=1)]
    assert list(found["prediction"]) == winners


def test_an_export_that_ignores_exif_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        saved_model.decoding,
        "decode_in_graph",
        lambda image, _: decoding._decode(
            image,
            headers.read_header(image)._replace(orientation=tf.constant(1)),
            "full",
        ),
    )
    with pytest.raises(RuntimeError, match="differs .* the bytes of a turned"):
        saved_model.export_saved_model(small, tmp_path / "exported")
    assert os.listdir(tmp_path) == []


def test_litert_converts_the_tensor_signature_by_default(small, exported):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(exported))
    with warnings.catch_warnings(action="ignore"):  # It will move.
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3))
    run = interpreter.get_signature_runner("serving_default")
    found = run(images=images.astype("float32"))["probabilities"]
    expected = small.model.predict_on_batch(images.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_folder_of_other_things_is_not_replaced(small, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something other than a Saved"):
        saved_model.export_saved_model(small, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_an_export_that_differs_is_not_left_behind(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr(saved_model, "_write", lambda _, path: path.mkdir())
    found = {"one": 0.5, "another": float("nan")}
    monkeypatch.setattr(saved_model, "_compare", lambda *_: found)
    with pytest.raises(
        RuntimeError, match="differs .* nan, more than 0.0001, on another"
    ):
        saved_model.export_saved_model(small, tmp_path / "exported")
    assert os.listdir(tmp_path) == []


def test_a_served_signature_has_a_value_for_each_image_in_all_outputs(
    small, exported, tmp_path
):
    names = small.class_names
    path = layouts.write_tf_serving(exported, tmp_path / "net", names)
    assert path == tmp_path / "net" / "1"
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    images = images.astype("float32")
    expected = small.model.predict_on_batch(images)
    # A session and a signature of names are what TensorFlow Serving has.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        signature = graph.signature_def["serving_default"]
        assert set(graph.signature_def) >= {"serving_default", "serving_bytes"}
        assert set(signature.outputs) == {"probabilities", "prediction"}
        feed = {signature.inputs["images"].name: images}
        found = {
            key: session.run(tensor.name, feed)
            for key, tensor in signature.outputs.items()
        }
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    best = [names[i].encode() for i in expected.argmax(axis=1)]
    assert found["prediction"].tolist() == best
    # TensorFlow's own loader still has the names.
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    inside = serve(images=tf.constant(images))["class_names"].numpy()
    assert [name.decode() for name in inside] == list(names)
    labels = (path / "assets.extra" / "labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == list(names)
