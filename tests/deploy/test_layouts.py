"""The folders of TensorFlow Serving and Triton, read as they read them."""

import shutil

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from efficientnet_tf.deploy import layouts

NAMES = ("first", "zweite\nKlasse", "trois/é")


@pytest.fixture
def exported(tmp_path):
    """The least that is a SavedModel."""
    path = tmp_path / "exported"
    path.mkdir()
    empty = saved_model_pb2.SavedModel()
    empty.meta_graphs.add().meta_info_def.tags.append("serve")
    (path / "saved_model.pb").write_bytes(empty.SerializeToString())
    return path


def test_versions_follow_each_other(exported, tmp_path):
    base = tmp_path / "net"
    for name in ("2", "9", "old", "10.bak"):
        shutil.copytree(exported, base / name)
    for number in (10, 11):
        path = layouts.write_tf_serving(exported, base, NAMES)
        assert path == base / str(number)
        assert (path / "saved_model.pb").exists()
    names = {each.name for each in base.iterdir()}
    assert names == {"2", "9", "old", "10.bak", "10", "11"}


def test_what_is_no_saved_model_leaves_nothing(exported, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "saved_model.pb").write_bytes(b"\xff" * 99)
    base = tmp_path / "net"
    with pytest.raises(ValueError, match="not a readable SavedModel"):
        layouts.write_tf_serving(tmp_path / "bad", base, NAMES)
    with pytest.raises(FileNotFoundError):
        layouts.write_tf_serving(tmp_path / "no", base, NAMES)
    assert not base.exists() or not list(base.iterdir())
    with pytest.raises(FileExistsError, match="folder for its versions"):
        layouts.write_tf_serving(exported, exported, NAMES)


@pytest.mark.parametrize(
    "layout,held,named",
    [
        # Another server's versions, with and without what stands beside them.
        ("write_tf_serving", ["1/model.onnx", "config.pbtxt"], "1"),
        ("write_tf_serving", ["config.pbtxt", "1/saved_model.pb"], "config"),
        ("write_triton", ["1/saved_model.pb"], "1"),
        ("write_triton", ["1/saved_model.pb", "2/model.onnx"], "1"),
        # Photos, and a version among them.
        ("write_tf_serving", ["cats/1.jpg", "dogs/1.jpg"], "cats"),
        ("write_triton", ["cats/1.jpg"], "cats"),
        ("write_tf_serving", ["1/cat.jpg", "1/saved_model.pbtxt"], "1"),
    ],
)
def test_a_folder_of_anything_else_is_refused(tmp_path, layout, held, named):
    for name in held:
        path = tmp_path / "net" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    with pytest.raises(FileExistsError, match=f"holds {named}") as error:
        layouts.check_base(tmp_path / "net", layout)
    assert "no version of such a model" in str(error.value)


def write_onnx(path, batch="N", classes=3, name="images", dtype=1):
    """Writes a network that averages pixels; returns the path."""
    onnx = pytest.importorskip(
        "onnx", reason='needs pip install "efficientnet-tf[deploy]"'
    )
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", [name], ["mean"], keepdims=0)],
        "net",
        [helper.make_tensor_value_info(name, dtype, [batch, 32, 32, 3])],
        [
            helper.make_tensor_value_info("probabilities", 1, [batch, classes]),
            helper.make_tensor_value_info("maps", 1, [batch, 7, 7, classes]),
        ],
        [helper.make_tensor("weight", 1, [1], [0.0])],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def parse_config(text):
    config = pytest.importorskip(
        "tritonclient.grpc.model_config_pb2",
        reason="needs tritonclient[grpc]",
        exc_type=ImportError,
    )
    from google.protobuf import text_format

    return text_format.Parse(text, config.ModelConfig())


@pytest.mark.filterwarnings("ignore:Protobuf gencode version:UserWarning")
@pytest.mark.parametrize("batch", ["N", 4])
def test_a_triton_config_is_what_its_definition_says(tmp_path, batch):
    path = write_onnx(tmp_path / "net.onnx", batch, name='im"äges')
    written = layouts.write_triton(path, tmp_path / "models" / "net", NAMES)
    folder = tmp_path / "models" / "net"
    assert written == folder / "1" / "model.onnx"
    assert written.read_bytes() == path.read_bytes()
    config = parse_config((folder / "config.pbtxt").read_text())
    dynamic = batch == "N"
    first = [] if dynamic else [4]
    assert (config.name, config.backend) == ("net", "onnxruntime")
    assert config.max_batch_size == (32 if dynamic else 0)
    assert config.HasField("dynamic_batching") == dynamic
    (image,) = config.input
    assert (image.name, list(image.dims)) == ('im"äges', [*first, 32, 32, 3])
    assert (
        image.DESCRIPTOR.fields_by_name["data_type"]
        .enum_type.values_by_name["TYPE_FP32"]
        .number
        == image.data_type
    )
    probabilities, maps = config.output
    assert list(probabilities.dims) == [*first, 3]
    assert probabilities.label_filename == "labels.txt"
    assert (list(maps.dims), maps.label_filename) == ([*first, 7, 7, 3], "")
    assert len((folder / "labels.txt").read_text().splitlines()) == 3


def test_a_second_version_goes_beside_the_first_if_it_is_alike(tmp_path):
    path = write_onnx(tmp_path / "net.onnx")
    for number in (1, 2):
        found = layouts.write_triton(path, tmp_path / "net", NAMES)
        assert found == tmp_path / "net" / str(number) / "model.onnx"
    for names, batch in ((NAMES[::-1], 32), (NAMES, 8)):
        with pytest.raises(FileExistsError, match="other|not that of"):
            layouts.write_triton(path, tmp_path / "net", names, max_batch=batch)
    assert {p.name for p in (tmp_path / "net").iterdir()} == {
        "1",
        "2",
        "config.pbtxt",
        "labels.txt",
    }


def test_what_triton_cannot_serve_is_refused_and_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\xff" * 99)
    cases = {
        bad: "not a readable ONNX file",
        write_onnx(tmp_path / "c.onnx", dtype=14): "of a type that Triton",
    }
    for path, message in cases.items():
        with pytest.raises(ValueError, match=message):
            layouts.write_triton(path, tmp_path / "models" / "net", NAMES)
    with pytest.raises(ValueError, match="max_batch=0 must be at least 1"):
        layouts.write_triton(bad, tmp_path / "models/net", NAMES, max_batch=0)
    assert not (tmp_path / "models").exists()
