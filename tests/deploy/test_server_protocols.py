"""Requests at random: each is understood or refused, whatever it holds."""

import base64
import json
import random

import numpy as np
import pytest

import fuzz
from efficientnet_tf.deploy.server import limits, open_inference, tf_serving
from efficientnet_tf.utils import targets

CASES = 1500
SIZE = (2, 2)
TENSOR = np.arange(12.0).reshape(1, 2, 2, 3).tolist()
FILE = base64.b64encode(b"file").decode()

V1 = [
    {"instances": [{"b64": FILE}, {"b64": FILE}]},
    {"inputs": {"images": TENSOR}, "signature_name": "serving_default"},
    {"instances": [{"encoded": {"b64": FILE}}]},
]
V2 = [
    {
        "id": "x",
        "inputs": [
            {
                "name": "images",
                "datatype": "FP32",
                "shape": [1, 2, 2, 3],
                "data": TENSOR,
            }
        ],
        "outputs": [
            {
                "name": "probabilities",
                "parameters": {"classification": 2, "binary_data": True},
            }
        ],
    },
    {
        "inputs": [
            {
                "name": "encoded",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": 5},
            }
        ],
        "parameters": {"binary_data_output": True},
    },
]
FOUND = np.full((1, 2), 0.5, "float32")
MODEL = {"model_name": "net", "model_version": "1"}


def answer_v1(text, _):
    asked = tf_serving.parse(text, SIZE)
    found = FOUND.repeat(len(asked.images), axis=0)
    json.dumps(tf_serving.answer(asked, found, targets.Outputs(("a", "b"))))


def answer_v2(text, noise):
    tail = noise.choice((b"", b"\1\0\0\0x", noise.randbytes(5)))
    header = noise.choice((None, str(len(text)), str(noise.randrange(99))))
    asked = open_inference.parse(text + tail, header, SIZE)
    found = FOUND.repeat(len(asked.images), axis=0)
    open_inference.answer(asked, found, targets.Outputs(("a", "\ud800")), MODEL)


@pytest.mark.parametrize(
    "documents, answer", [(V1, answer_v1), (V2, answer_v2)], ids=["v1", "v2"]
)
def test_damaged_requests_are_answered_or_refused_in_a_line(documents, answer):
    noise = random.Random(0)
    refused = 0
    for _ in range(CASES):
        text = json.dumps(noise.choice(documents)).encode()
        text = fuzz.damage_json(text, noise)
        try:
            answer(text, noise)
        except limits.Refused as error:
            assert error.status == 400
            refused += 1
    assert CASES / 10 < refused < CASES


def test_the_sound_requests_are_understood():
    for document in V1:
        assert tf_serving.parse(json.dumps(document).encode(), SIZE).images
    text = json.dumps(V2[1]).encode()
    asked = open_inference.parse(text + b"\1\0\0\0x", str(len(text)), SIZE)
    assert asked.images == [b"x"]
    assert [each.binary for each in asked.outputs] == [True] * 3
    assert open_inference.parse(json.dumps(V2[0]).encode(), None, SIZE).name


def test_labels_and_numbers_are_answered_as_such():
    found = np.array([[0.7, 0.4]], "float32")
    labels = targets.Outputs(("a", "b"), targets.LABELS, (0.5, 0.3))
    numbers = targets.Outputs(("a", "b"), targets.NUMBERS)
    asked = tf_serving.Request([FILE], in_columns=False)
    for outputs, name, said in (
        (labels, "probabilities", "a|b"),
        (numbers, "numbers", "a=0.7|b=0.4"),
    ):
        (row,) = tf_serving.answer(asked, found, outputs)["predictions"]
        assert row["prediction"] == said
        assert row[name] == pytest.approx([0.7, 0.4])
        described = open_inference.describe_model("m", "1", SIZE, outputs)
        assert described["outputs"][0]["name"] == name
        tensor = {"name": "images", "datatype": "FP32", "data": TENSOR}
        body = {"inputs": [{**tensor, "shape": [1, 2, 2, 3]}]}
        body = json.dumps(body).encode()
        request = open_inference.parse(body, None, SIZE, outputs.values)
        text, _ = open_inference.answer(request, found, outputs, MODEL)
        answers = {o["name"]: o["data"] for o in json.loads(text)["outputs"]}
        assert answers["prediction"] == [said]
        assert answers[name] == pytest.approx([0.7, 0.4])
