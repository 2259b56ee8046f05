"""Requests of every kind, answered with the numbers of `predict`."""

import base64
import json
import struct

import numpy as np
import pytest
from prometheus_client import parser

import image_files
import servers
from efficientnet_tf.data.images import decoding
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder

V1, V2, UPLOAD = "/v1/models/net:predict", "/v2/models/net/infer", "/predict"
HEADER = "Inference-Header-Content-Length"
NAMES = ("first", "zweite Klasse", "trois/é")


@pytest.fixture(scope="module")
def network(tiny_row):
    found = builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))
    head = found.get_layer("predictions")
    kernel, bias = head.get_weights()
    head.set_weights([kernel * 30, bias])
    return classifier.Classifier(found, NAMES, 32, "bilinear", 4)


@pytest.fixture(scope="module")
def files():
    """Encoded images: each kind is decoded otherwise."""
    picture = image_files.make_picture()
    mirrored = picture.transpose(0)
    return [
        image_files.encode(picture, "JPEG"),
        image_files.encode(
            mirrored, "JPEG", exif=image_files.make_exif(6).tobytes()
        ),
        image_files.encode(mirrored, "PNG"),
        image_files.encode(picture.quantize(16), "GIF"),
        image_files.encode(mirrored.convert("L"), "TIFF"),
    ]


@pytest.fixture(scope="module")
def expected(network, files, tmp_path_factory):
    """What `predict` gives."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / str(i) for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return network.predict(paths)


@pytest.fixture(scope="module")
def server(network, expected):
    with servers.running(network, max_batch=6, max_queue=60) as found:
        yield found


def to_b64(data):
    return {"b64": base64.b64encode(data).decode()}


def to_tensors(network, files):
    return np.stack(
        [network.preprocess(decoding.decode_file(f, "it")) for f in files]
    )


def rows(answer):
    return [row["probabilities"] for row in answer["predictions"]]


def column(answer):
    assert answer["outputs"]["class_names"] == list(NAMES)
    return answer["outputs"]["probabilities"]


def v2_tensor(answer):
    (found,) = (o for o in answer["outputs"] if o["name"] == "probabilities")
    return np.reshape(found["data"], found["shape"])


def uploaded(answer):
    return [
        [
            {each["class"]: each["probability"] for each in row["top"]}[name]
            for name in NAMES
        ]
        for row in answer["predictions"]
    ]


def binary(name, datatype, shape, data):
    """Returns (body, headers) of an /infer request."""
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(data)},
    }
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + data, {HEADER: str(len(text))}


def v2_json(name, datatype, shape, data):
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return {"id": "x", "inputs": [tensor]}


def make_requests(files, tensors):
    """{name: (path, (body, headers), how to read the answer)}"""
    encoded = [to_b64(data) for data in files]
    texts = [each["b64"] for each in encoded]
    websafe = [
        {"b64": base64.urlsafe_b64encode(data).decode().rstrip("=")}
        for data in files
    ]
    numbers = tensors.tolist()
    n, shape = len(files), list(tensors.shape)
    packed = b"".join(struct.pack("<I", len(f)) + f for f in files)
    plain = tensors.astype("<f4").tobytes()
    names = {"signature_name": "serving_bytes"}
    default = {"signature_name": "serving_default"}
    version = "/v1/models/net/versions/1:predict"
    return {
        "rows of base64": (V1, {"instances": encoded}, rows),
        "rows of URL-safe base64": (V1, {"instances": websafe}, rows),
        "rows with the input's name": (
            version,
            {**names, "instances": [{"encoded": e} for e in encoded]},
            rows,
        ),
        "a column of base64": (V1, {**names, "inputs": encoded}, column),
        "a named column": (V1, {"inputs": {"encoded": encoded}}, column),
        "rows of numbers": (V1, {**default, "instances": numbers}, rows),
        "named rows of numbers": (
            V1,
            {"instances": [{"images": each} for each in numbers]},
            rows,
        ),
        "columns of numbers": (V1, {"inputs": {"images": numbers}}, column),
        "V2, JSON": (V2, v2_json("images", "FP32", shape, numbers), v2_tensor),
        "V2, flat JSON": (
            "/v2/models/net/versions/1/infer",
            v2_json("images", "FP32", shape, tensors.ravel().tolist()),
            v2_tensor,
        ),
        "V2, base64": (V2, v2_json("encoded", "BYTES", [n], texts), v2_tensor),
        "V2, binary files": (
            V2,
            binary("encoded", "BYTES", [n], packed),
            v2_tensor,
        ),
        "V2, binary tensor": (V2, binary("images", "FP32", shape, plain), None),
        "a form": (
            UPLOAD,
            servers.make_form(
                [("image", f"{i}", f) for i, f in enumerate(files)]
            ),
            uploaded,
        ),
    }


def test_every_kind_of_request_gets_the_numbers_of_predict(
    server, network, files, expected
):
    requests = make_requests(files, to_tensors(network, files))
    assert np.ptp(expected, axis=0).max() > 0.01  # They tell images apart.
    for name, (path, body, read) in requests.items():
        body, headers = body if isinstance(body, tuple) else (body, {})
        status, found, _ = server.post(path, body, headers)
        assert status == 200, (name, found)
        np.testing.assert_allclose(
            (read or v2_tensor)(found), expected, atol=1e-5, err_msg=name
        )


def test_a_file_alone_is_answered_with_its_best_classes(
    server, files, expected
):
    status, found, _ = server.post(f"{UPLOAD}?top=2", files[0])
    (row,) = found["predictions"]
    best = expected[0].argsort()[::-1][:2]
    assert status == 200
    assert [each["class"] for each in row["top"]] == [NAMES[i] for i in best]
    assert row["class"] == NAMES[best[0]]


def test_the_same_name_twice_in_a_form_is_two_images(server, files, expected):
    form = [("image", "cat.jpg", files[0]), ("image", "cat.jpg", files[2])]
    _, found, _ = server.post(UPLOAD, *servers.make_form(form))
    np.testing.assert_allclose(uploaded(found), expected[[0, 2]], atol=1e-5)


def test_images_that_come_at_once_share_batches(server, files, expected):
    bodies = [{"instances": [to_b64(files[i % 5])]} for i in range(30)]
    for i, (status, found, _) in enumerate(server.post_all(V1, bodies)):
        assert status == 200
        np.testing.assert_allclose(rows(found), expected[[i % 5]], atol=1e-5)
    samples = read_metrics(server)
    assert (
        samples["efficientnet_batch_images_count"]
        < samples["efficientnet_batch_images_sum"]
    )


def read_metrics(server):
    """{sample: value} of samples without labels."""
    _, body, _ = server.get("/metrics")
    return {
        sample.name: sample.value
        for family in parser.text_string_to_metric_families(body.decode())
        for sample in family.samples
        if not sample.labels
    }


def test_metrics_count_requests_by_route_and_code(server, files):
    def count(line):
        _, body, headers = server.get("/metrics")
        assert headers["Content-Type"].startswith("text/plain")
        found = [x for x in body.decode().splitlines() if x.startswith(line)]
        return float(found[0].split()[-1]) if found else 0

    good = 'efficientnet_requests_total{code="200",route="/predict"}'
    bad = 'efficientnet_requests_total{code="400",route="/predict"}'
    other = 'efficientnet_requests_total{code="404",route="other"}'
    before = [count(line) for line in (good, bad, other)]
    server.post(UPLOAD, files[0])
    server.post(UPLOAD, b"no image")
    for path in ("/a", "/b"):  # A series each would never end.
        assert server.get(path)[0] == 404
    after = [count(line) for line in (good, bad, other)]
    assert np.subtract(after, before).tolist() == [1, 1, 2]
    assert read_metrics(server)["efficientnet_queue_images"] == 0


def test_models_describe_themselves(server):
    def get(path):
        status, body, _ = server.get(path)
        assert status == 200, path
        return json.loads(body)

    (status,) = get("/v1/models/net")["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    metadata = get("/v1/models/net/versions/1/metadata")["metadata"]
    signatures = metadata["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "serving_bytes"}
    images = signatures["serving_default"]["inputs"]["images"]
    sides = [side["size"] for side in images["tensor_shape"]["dim"]]
    assert (images["dtype"], sides) == ("DT_FLOAT", ["-1", "32", "32", "3"])
    assert get("/v2")["extensions"] == ["binary_tensor_data", "classification"]
    found = get("/v2/models/net/versions/1")
    assert found["inputs"][0]["shape"] == [-1, 32, 32, 3]
    assert found["outputs"][0] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [-1, 3],
    }
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/net/ready"):
        get(path)


MANY = b'{"instances": [' + b"[]," * 2**20 + b"[]]}"
IMAGE = {"b64": base64.b64encode(b"no image").decode()}
TENSOR = np.zeros((1, 32, 32, 3)).tolist()
# name: (path, body, status, part of the message)
REFUSED = {
    "no JSON": (V1, b"{", 400, "The request is not JSON"),
    "nothing": (V1, b"", 400, "not JSON"),
    "a list": (V1, [1], 400, "must hold a JSON object, not a list"),
    "NaN": (V1, b'{"instances": [NaN]}', 400, "NaN is not a finite number"),
    "neither": (V1, {"x": 1}, 400, "either 'instances' or 'inputs', not none"),
    "both": (V1, {"instances": [], "inputs": []}, 400, "not 'instances' and"),
    "a million lists": (V1, MANY, 413, "more than 1,048,576 values"),
    "a million lists in V2": (V2, MANY, 413, "more than 1,048,576 values"),
    "no images": (V1, {"instances": []}, 400, "holds no images"),
    "no list": (V1, {"instances": IMAGE}, 400, "'instances' must be a list"),
    "no column": (V1, {"inputs": IMAGE}, 400, "must be a list"),
    "two inputs": (V1, {"instances": [{"a": 1, "b": 2}]}, 400, "one input"),
    "another input": (V1, {"inputs": {"x": [1]}}, 400, "has no input 'x'"),
    "mixed": (V1, {"instances": [IMAGE, {"images": 1}]}, 400, "different inp"),
    "a signature": (
        V1,
        {"signature_name": "serving_byte", "instances": [IMAGE]},
        400,
        "Unknown signature_name 'serving_byte'.*Did you mean 'serving_bytes'",
    ),
    "a signature of lists": (
        V1,
        {"signature_name": [], "instances": [IMAGE]},
        400,
        "signature_name must be a text",
    ),
    "not base64": (V1, {"instances": [{"b64": "*"}]}, 400, "base64 is damaged"),
    "base64 of numbers": (V1, {"instances": [{"b64": 1}]}, 400, "be a text"),
    "no image": (V1, {"instances": [IMAGE]}, 400, "not an image in a known"),
    "the second": (
        V1,
        {
            "instances": [
                to_b64(image_files.encode(image_files.make_picture(), "PNG")),
                IMAGE,
            ]
        },
        400,
        "Image 2 of 2: The image is not an image",
    ),
    "another shape": (
        V1,
        {"instances": [[[[1, 2, 3]]]]},
        400,
        r"have the shape \[1, 1, 1, 3\]; it must be \[N, 32, 32, 3\]",
    ),
    "ragged": (V1, {"instances": [[1], [1, 2]]}, 400, "different lengths"),
    "words": (V1, {"instances": ["cat"]}, 400, "must be numbers"),
    "true": (
        V1,
        {"inputs": np.ones((1, 32, 32, 3), bool).tolist()},
        400,
        "numb",
    ),
    "beyond float32": (
        V1,
        {"inputs": np.full((1, 32, 32, 3), 1e300).tolist()},
        400,
        "must be finite",
    ),
    "another model": ("/v1/models/nett:predict", {}, 404, "Did you mean 'net'"),
    "another version": ("/v2/models/net/versions/2/infer", {}, 404, "version"),
    "another verb": ("/v1/models/net:classify", {}, 404, "Not Found"),
    "V2 without inputs": (V2, {}, 400, "has 0 inputs"),
    "V2, an input": (
        V2,
        v2_json("image", "FP32", [1], []),
        400,
        "Did you mean",
    ),
    "V2, a nameless input": (V2, {"inputs": [{}]}, 400, "Unknown input None"),
    "V2, a number": (V2, {"inputs": [1]}, 400, "must hold a JSON object"),
    "V2, a datatype": (
        V2,
        v2_json("images", "FP64", [1, 32, 32, 3], TENSOR),
        400,
        "must be of datatype FP32, not FP64",
    ),
    "V2, too few numbers": (
        V2,
        v2_json("images", "FP32", [2, 32, 32, 3], TENSOR),
        400,
        "have 6144 numbers, not 3072",
    ),
    "V2, a huge shape": (
        V2,
        v2_json("images", "FP32", [0, 10**18, 10**18, 3], []),
        400,
        "have the shape",
    ),
    "V2, a long shape": (
        V2,
        v2_json("images", "FP32", [10**18] * 9, []),
        400,
        "have the shape",
    ),
    "V2, a shape of words": (
        V2,
        v2_json("images", "FP32", ["1"], []),
        400,
        "must be whole numbers",
    ),
    "V2, no data": (
        V2,
        {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1]}]},
        400,
        "either data or a binary_data_size",
    ),
    "V2, an output": (
        V2,
        v2_json("encoded", "BYTES", [1], ["AAAA"])
        | {"outputs": [{"name": "y"}]},
        400,
        "Unknown output 'y'",
    ),
    "a top of none": (f"{UPLOAD}?top=0", b"x", 400, "number of classes"),
    "a top in words": (f"{UPLOAD}?top=all", b"x", 400, "number of classes"),
    "an empty file": (UPLOAD, b"", 400, "The image is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_in_one_line(server, case):
    path, body, code, message = REFUSED[case]
    status, found, _ = server.post(path, body)
    assert (status, list(found)) == (code, ["error"])
    assert "\n" not in found["error"]
    with pytest.raises(ValueError, match=message):
        raise ValueError(found["error"])


# name: (body, headers, part of the message)
def list_binary():
    good, headers = binary("encoded", "BYTES", [1], struct.pack("<I", 1) + b"x")
    json_bytes = int(headers[HEADER])
    return {
        "more JSON than body": (
            good,
            {HEADER: "9999"},
            "does not go with a bo",
        ),
        "no number": (good, {HEADER: "-1"}, "does not go with a body"),
        "too many digits": (good, {HEADER: "1" * 5000}, "does not go with a"),
        "bytes missing": (good[:-1], headers, "must have 5 bytes after"),
        "bytes too many": (
            good + b"x",
            headers,
            "5 bytes after the JSON, not 6",
        ),
        "a cut element": (
            *binary("encoded", "BYTES", [1], struct.pack("<I", 9) + b"x"),
            "cut short",
        ),
        "a cut length": (*binary("encoded", "BYTES", [1], b"abc"), "cut short"),
        "more files than said": (
            *binary("encoded", "BYTES", [1], bytes(400)),
            r"of its N files, not \[1\]",
        ),
        "a shape of files": (
            *binary("encoded", "BYTES", [1, 2], bytes(4)),
            r"of its N files, not \[1, 2\]",
        ),
        "other counts": (
            *binary("encoded", "BYTES", [2], good[json_bytes:]),
            r"shape \[N\] of its N files, not \[2\]",
        ),
        "a cut tensor": (
            *binary("images", "FP32", [1, 32, 32, 3], bytes(8)),
            "have 12288 bytes",
        ),
        "NaN": (
            *binary(
                "images",
                "FP32",
                [1, 32, 32, 3],
                np.full((32, 32, 3), np.nan, "<f4").tobytes(),
            ),
            "must be finite",
        ),
    }


@pytest.mark.parametrize("case", list_binary())
def test_binary_tensors_are_checked(server, case):
    body, headers, message = list_binary()[case]
    status, found, _ = server.post(V2, body, headers)
    assert status == 400
    with pytest.raises(ValueError, match=message):
        raise ValueError(found["error"])


FORMS = {
    "without an end": (b"--b\r\n", "multipart/form-data; boundary=b"),
    "without a boundary": (b"x", "multipart/form-data"),
    "without parts": (b"--b--\r\n", "multipart/form-data; boundary=b"),
    "of other bytes": (bytes(999), "multipart/form-data; boundary=b"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_damaged_form_is_refused(server, case):
    body, kind = FORMS[case]
    status, found, _ = server.post(UPLOAD, body, {"Content-Type": kind})
    assert (status, list(found)) == (400, ["error"])


def test_a_triton_client_gets_the_numbers_of_predict(
    server, network, files, expected
):
    client_lib = pytest.importorskip(
        "tritonclient.http", reason='needs pip install "tritonclient[http]"'
    )
    client = client_lib.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("net") and client.is_model_ready("net", "1")
    assert client.get_server_metadata()["name"] == "efficientnet-tf"
    assert client.get_model_metadata("net")["versions"] == ["1"]
    tensors = to_tensors(network, files)
    values = {"images": tensors, "encoded": np.array(files, object)}
    kinds = {"images": "FP32", "encoded": "BYTES"}
    for name, value in values.items():
        sent = client_lib.InferInput(name, value.shape, kinds[name])
        sent.set_data_from_numpy(value)
        for options in ({}, {"request_compression_algorithm": "gzip"}):
            found = client.infer("net", [sent], request_id="7", **options)
            np.testing.assert_allclose(
                found.as_numpy("probabilities"), expected, atol=1e-5
            )
            assert found.get_response()["id"] == "7"
        best = [NAMES[i].encode() for i in expected.argmax(axis=1)]
        assert found.as_numpy("prediction").tolist() == best
        assert [n.decode() for n in found.as_numpy("class_names")] == list(
            NAMES
        )
    asked = client_lib.InferRequestedOutput("probabilities", class_count=2)
    (top, second), *_ = client.infer("net", [sent], outputs=[asked]).as_numpy(
        "probabilities"
    )
    score, index, name = top.decode().split(":")
    assert (NAMES[int(index)], float(score)) == (
        name,
        pytest.approx(expected[0].max(), abs=1e-5),
    )
    assert float(second.decode().split(":")[0]) <= float(score)
    plain = client_lib.InferInput("images", tensors.shape, "FP32")
    plain.set_data_from_numpy(tensors, binary_data=False)
    asked = client_lib.InferRequestedOutput("probabilities", binary_data=False)
    found = client.infer("net", [plain], outputs=[asked])
    np.testing.assert_allclose(
        found.as_numpy("probabilities"), expected, atol=1e-5
    )
    with pytest.raises(
        client_lib.InferenceServerException, match="Unknown mod"
    ):
        client.infer("other", [sent])
    client.close()
