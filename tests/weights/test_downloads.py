import hashlib
import http.server
import os
import re
import threading

import pytest

from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import downloads, http_files

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes.
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, with faults on request."""

    content = CONTENT
    etag = '"one"'
    ranges = True
    cuts = 0  # How many answers break off half-way.
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []  # The Range header of each.


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        same = self.headers.get("If-Range") == server.etag
        if asked and server.ranges and same:
            start = int(re.match(r"bytes=(\d+)-", asked)[1])
        if start > len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:
            server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    mirror = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, mirror)
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


URL = "https://example.com/models/b0.h5"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def cached(tmp_path):
    folder = tmp_path / "cache" / "models"
    return sorted(os.listdir(folder)) if folder.exists() else []


@pytest.mark.parametrize("digest", [MD5, SHA256])
def test_a_file_is_downloaded_once(server, tmp_path, digest):
    path = downloads.fetch(URL, digest)
    assert path == str(tmp_path / "cache" / "models" / "b0.h5")
    assert read(path) == CONTENT
    assert downloads.fetch(URL, digest) == path
    assert len(server.requests) == 1
    assert cached(tmp_path) == ["b0.h5"]


def test_files_of_one_name_and_different_folders_do_not_meet(server):
    first = downloads.fetch("https://example.com/advprop/b0.tar.gz")
    second = downloads.fetch("https://example.com/ckptsaug/b0.tar.gz")
    assert first != second


def test_a_broken_connection_is_resumed_where_it_broke(server):
    server.cuts = 2
    assert read(downloads.fetch(URL, SHA256)) == CONTENT
    half = len(CONTENT) // 2
    assert server.requests == [
        None,
        f"bytes={half}-",
        f"bytes={half + half // 2}-",
    ]


def test_a_later_run_resumes_what_an_earlier_one_left(server, tmp_path):
    server.cuts = http_files.ATTEMPTS
    with pytest.raises(OSError, match="bytes arrived"):
        downloads.fetch(URL, SHA256)
    assert cached(tmp_path) == ["b0.h5.part", "b0.h5.part.json"]
    assert read(downloads.fetch(URL, SHA256)) == CONTENT
    assert server.requests[-1] == f"bytes={len(CONTENT) * 15 // 16}-"
    assert cached(tmp_path) == ["b0.h5"]


def test_without_ranges_the_download_begins_anew(server):
    server.cuts = 1
    server.ranges = False
    assert read(downloads.fetch(URL, SHA256)) == CONTENT
    assert len(server.requests) == 2


def test_without_a_validator_nothing_is_appended(server):
    # It could be the rest of another file.
    server.cuts = 1
    server.etag = None
    assert read(downloads.fetch(URL, SHA256)) == CONTENT
    assert server.requests == [None, None]


def test_a_file_that_changed_meanwhile_begins_anew(server):
    server.cuts = http_files.ATTEMPTS
    with pytest.raises(OSError):
        downloads.fetch(URL)
    server.etag = '"two"'
    server.content = CONTENT[::-1]
    assert read(downloads.fetch(URL)) == CONTENT[::-1]


@pytest.mark.parametrize("digest", ["md5:" + "0" * 32, "sha256:" + "0" * 64])
def test_a_wrong_hash_leaves_no_file(server, tmp_path, digest):
    with pytest.raises(ValueError, match="b0.h5 is not the published file"):
        downloads.fetch(URL, digest)
    assert cached(tmp_path) == []
    server.content = CONTENT + b"!"  # And nothing of it is resumed.
    good = hashlib.sha256(server.content).hexdigest()
    assert read(downloads.fetch(URL, f"sha256:{good}")) == server.content


def test_without_a_published_hash_what_was_read_first_holds(server, tmp_path):
    path = downloads.fetch(URL)
    assert cached(tmp_path) == ["b0.h5", "b0.h5.unread"]
    with downloads.confirmed(path):
        pass
    assert cached(tmp_path) == ["b0.h5", "b0.h5.sha256"]
    assert read(f"{path}.sha256").decode() == SHA256
    assert downloads.fetch(URL) == path
    with open(path, "ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match="Delete it to download it again"):
        downloads.fetch(URL)


def test_what_cannot_be_read_is_deleted_and_its_hash_not_kept(server, tmp_path):
    path = downloads.fetch(URL)
    with pytest.raises(ValueError, match="no weights. It has been deleted"):
        with downloads.confirmed(path):
            raise ValueError("no weights.")
    assert cached(tmp_path) == []
    # What was put there by hand is not ours to delete.
    tmp_path.joinpath("cache/models/b0.h5").write_bytes(CONTENT)
    with pytest.raises(ValueError, match="no weights.$"):
        with downloads.confirmed(downloads.fetch(URL)):
            raise ValueError("no weights.")
    assert cached(tmp_path) == ["b0.h5"]


def test_a_file_put_there_by_hand_is_checked_and_used(server, tmp_path):
    path = tmp_path / "cache" / "models" / "b0.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert downloads.fetch(URL, MD5) == str(path)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match="not the published file"):
        downloads.fetch(URL, MD5)
    assert path.exists()  # It is not ours to delete.
    assert not server.requests


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_error_of_the_server_says_where_to_put_the_file(
    server, tmp_path, status
):
    server.status = status
    with pytest.raises(OSError) as caught:
        downloads.fetch(URL, MD5)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("Cannot download b0.h5 from http://127.0.0.1:")
    assert line.endswith(f"put it at {tmp_path}/cache/models/b0.h5")
    assert str(status) in line
    assert len(server.requests) == 1
    assert cached(tmp_path) == []


def test_no_network_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    # Port 9, "discard": nobody listens.
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(OSError) as caught:
        downloads.fetch(URL)
    line = str(caught.value)
    assert "\n" not in line
    assert "refused" in line
    assert line.endswith(f"put it at {tmp_path}/cache/models/b0.h5")
    assert cached(tmp_path) == []


def test_progress_is_logged_where_nobody_watches(server, monkeypatch):
    monkeypatch.setattr(http_files, "LOG_EVERY_BYTES", 100_000)
    monkeypatch.setattr(http_files, "CHUNK_BYTES", 10_000)
    from absl import logging

    lines = []
    monkeypatch.setattr(
        logging, "info", lambda text, *args: lines.append(text % args)
    )
    downloads.fetch(URL, MD5)
    assert len(lines) == 6  # Each 100,000 bytes, and the end.
    assert lines[0] == "b0.h5: 0.1 of 0.5 MB."


@pytest.mark.parametrize(
    "variables,wanted",
    [
        ({"EFFICIENTNET_TF_CACHE": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/efficientnet_tf"),
        ({"HOME": "/c"}, "/c/.cache/efficientnet_tf"),
        (
            {"XDG_CACHE_HOME": "/b", "EFFICIENTNET_TF_CACHE": "/a"},
            "/a",
        ),
    ],
)
def test_the_cache_is_where_the_environment_says(
    monkeypatch, variables, wanted
):
    for name in ("EFFICIENTNET_TF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder.cache_dir() == wanted


def test_more_bytes_than_the_server_has_are_thrown_away(server, tmp_path):
    # A part longer than the file, under a validator that still holds.
    folder = tmp_path / "cache" / "models"
    folder.mkdir(parents=True)
    (folder / "b0.h5.part").write_bytes(CONTENT + b"!")
    (folder / "b0.h5.part.json").write_text('{"validator": "\\"one\\""}')
    assert read(downloads.fetch(URL, SHA256)) == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) + 1}-", None]
