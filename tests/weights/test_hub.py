"""Names on the hub, against a local server that answers as the hub does."""

import dataclasses
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

import numpy as np
import pytest
import safetensors.numpy

from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import builder, registry, variants
from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import catalog, downloads, hub, loading

TIMM = "hf://timm/tf_efficientnet_b0.ap_in1k"
OWN = "hf://anna/flowers"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self, with_body):
        server = self.server
        path = urllib.parse.urlsplit(self.path).path
        token = self.headers.get("Authorization")
        server.requests.append((self.command, path, token))
        if path.startswith("/cache/"):  # A small file, on the same host.
            self.reply(200, {"ETag": '"git"'}, server.files[path[6:]])
            return
        match = re.fullmatch(r"(/[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository, revision, file = match.groups()
        error = server.errors.get(repository)
        if repository in server.private and token != "Bearer secret":
            error = 401, ""
        if error:
            self.reply(error[0], {"X-Error-Code": error[1]})
        elif not any(
            name.startswith(f"{repository}/") for name in server.files
        ):
            self.reply(404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", "v2"):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        elif f"{repository}/{file}" not in server.files:
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
        elif file.endswith(".json"):
            self.reply(307, {"Location": f"/cache{repository}/{file}"})
        else:
            digest = hashlib.sha256(server.files[f"{repository}/{file}"])
            self.reply(
                302,
                {
                    "Location": f"{server.storage.url}{repository}/{file}",
                    "X-Linked-ETag": f'"{server.tag or digest.hexdigest()}"',
                },
            )


class StorageHandler(Handler):
    """Where the hub keeps large files: another host."""

    def answer(self, with_body):
        server = self.server
        asked = self.headers.get("Range")
        token = self.headers.get("Authorization")
        server.requests.append((self.command, asked, token))
        content = server.files[self.path]
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        size = len(content)
        self.send_response(206 if start else 200)
        self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        end = size
        if server.cuts:
            server.cuts -= 1
            end = size // 2
        self.wfile.write(content[start:end])


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, handler, files):
        super().__init__(("127.0.0.1", 0), handler)
        self.files, self.requests = files, []
        self.private, self.errors = set(), {}
        self.tag, self.cuts = None, 0
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(tmp_path, monkeypatch):
    files = {}
    servers = [Server(Handler, files), Server(StorageHandler, files)]
    servers[0].storage = servers[1]
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.01,))
        for server in servers
    ]
    for thread in threads:
        thread.start()
    monkeypatch.setenv(hub.ENDPOINT_VARIABLE, servers[0].url)
    monkeypatch.delenv(hub.TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(downloads.MIRROR_VARIABLE, raising=False)
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    yield servers[0]
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def timm_server(server):
    """The server with a repository as timm lays it out."""
    folder = TIMM.removeprefix("hf:/")
    config = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    arrays = {"conv_stem.weight": np.ones((32, 3, 3, 3), np.float32)}
    server.files[f"{folder}/config.json"] = json.dumps(config).encode()
    server.files[f"{folder}/model.safetensors"] = safetensors.numpy.save(arrays)
    return server


def test_timms_weights_come_with_their_config(timm_server):
    timm_server.storage.cuts = 1  # The first answer breaks off half-way.
    found = loading.resolve("efficientnet_b0", TIMM)
    np.testing.assert_array_equal(found.arrays["stem_conv/kernel"], 1)
    assert found.normalization == variants.NORMALIZATIONS["advprop"]
    assert (found.padding, found.normalization_note) == ("same", "")
    assert "timm_tf (by config.json)" in found.source
    ranges = [asked for _, asked, _ in timm_server.storage.requests]
    size = len(timm_server.files[f"{TIMM[4:]}/model.safetensors"])
    assert ranges == [None, f"bytes={size // 2}-"]
    # What is in the cache needs no hub.
    before = len(timm_server.requests)
    again = loading.resolve("efficientnet_b0", TIMM)
    np.testing.assert_array_equal(again.arrays["stem_conv/kernel"], 1)
    assert len(timm_server.requests) == before


def test_a_file_that_is_not_the_hubs_is_refused(timm_server, tmp_path):
    timm_server.tag = "0" * 64
    with pytest.raises(ValueError, match="its sha256 is .*has been deleted"):
        hub.fetch(TIMM)
    assert not list((tmp_path / "cache").rglob("model.safetensors*"))
    timm_server.tag = None
    with open(hub.fetch(TIMM), "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="Delete it to download it again"):
        hub.fetch(TIMM)


def test_a_token_goes_to_the_hub_and_no_further(timm_server, monkeypatch):
    timm_server.private.add("/timm/tf_efficientnet_b0.ap_in1k")
    with pytest.raises(PermissionError) as caught:
        hub.fetch(TIMM)
    assert str(caught.value) == (
        f"{TIMM}: there is no such repository, or it is private (HTTP 401); "
        "check the name, set HF_TOKEN if you may read it."
    )
    monkeypatch.setenv(hub.TOKEN_VARIABLE, "wrong")
    with pytest.raises(PermissionError, match="the token in HF_TOKEN may not"):
        hub.fetch(TIMM)
    monkeypatch.setenv(hub.TOKEN_VARIABLE, "secret")
    hub.fetch(TIMM)
    assert {token for *_, token in timm_server.storage.requests} == {None}
    # A mirror is another host, too.
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, timm_server.url)
    with pytest.raises(PermissionError, match="HTTP 401"):
        hub.fetch(f"{TIMM}@v2")


@pytest.mark.parametrize(
    "name,error,message",
    [
        ("hf://timm/tf_efficientnet_b0.ap", ValueError, "no such repository"),
        (f"{TIMM}@v3", ValueError, "has no such revision"),
        ("hf://anna/gated", PermissionError, "is gated: accept its terms at "),
        ("hf://anna/broken", OSError, "answers HTTP 500"),
        ("hf://anna/other", ValueError, "holds no model.weights.h5 or model.k"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_line(
    timm_server, name, error, message
):
    timm_server.errors["/anna/gated"] = 403, "GatedRepo"
    timm_server.errors["/anna/broken"] = 500, ""
    timm_server.files["/anna/other/config.json"] = b"{}"
    with pytest.raises(error, match=message) as caught:
        hub.fetch(name)
    assert str(caught.value).startswith(f"{name}: ") or "gated" in message
    assert "\n" not in str(caught.value)


def test_a_hub_that_does_not_answer_is_named(server, monkeypatch):
    monkeypatch.setenv(hub.ENDPOINT_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(OSError, match="cannot reach http://127.0.0.1:9"):
        hub.fetch(OWN)


@pytest.mark.parametrize(
    "name",
    ["hf://timm", "hf://a/b/c", "hf://../../etc", "hf://a/b@", "hf://a/.b?x=1"],
)
def test_a_malformed_name_is_refused_before_any_work(name):
    with pytest.raises(ValueError, match="must be hf://USER/REPO"):
        catalog.check_name("efficientnet_b0", name)


def test_a_classifier_of_ours_comes_with_its_classes(
    server, tiny_row, tmp_path, monkeypatch
):
    row = dataclasses.replace(tiny_row, padding="symmetric")
    monkeypatch.setitem(variants.VARIANTS, "tiny", row)
    names = ("daisy", "rose", "tulip")
    network = builder.build("tiny", classes=3, input_shape=(48, 48, 3))
    classifier_lib.Classifier(network, names, 48, "bilinear", 0).save(tmp_path)
    for file in ("model.keras", "classifier.json"):
        server.files[f"/anna/flowers/{file}"] = (tmp_path / file).read_bytes()
    found = classifier_lib.from_weights("tiny", OWN)
    assert found.class_names == names
    assert (found.resolution, found.crop_padding) == (48, 0)
    x = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3))
    np.testing.assert_allclose(found.model(x), network(x), atol=1e-6)
    # Beside a file on this machine as well.
    local = classifier_lib.from_weights("tiny", tmp_path / "model.keras")
    assert local.class_names == names
    # Without it, nobody knows the classes.
    (tmp_path / "classifier.json").unlink()
    with pytest.raises(
        ValueError, match="a classifier head for 3 classes, but one for 1000"
    ):
        classifier_lib.from_weights("tiny", tmp_path / "model.keras")
    assert registry.get_variant("tiny").padding == "symmetric"
