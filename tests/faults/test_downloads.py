"""Servers that break, lie or wait: no wrong file is kept."""

import hashlib
import io
import os
import re
import socketserver
import threading
import urllib.request

import pytest

from efficientnet_tf.utils import cache_folder
from efficientnet_tf.weights import downloads, http_files

CONTENT = os.urandom(20_000)
OTHER = os.urandom(20_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL = "https://example.com/models/b0.h5"
HALF = len(CONTENT) // 2


def answer(body, *headers, status="200 OK", length=True):
    """Returns the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def part(body, said, *headers):
    said = f"Content-Range: bytes {said}"
    return answer(body, said, *headers, status="206 Partial Content")


def cut(whole):
    return whole[: -(len(CONTENT) - HALF)]


def chunked(*chunks):
    body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
    body += b"0\r\n\r\n"
    return answer(body, "Transfer-Encoding: chunked", length=False)


ETAG = 'ETag: "one"'
WHOLE = answer(CONTENT, ETAG)
END = f"{HALF}-{len(CONTENT) - 1}/{len(CONTENT)}"


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a server that gives answers one by one; the last one again."""
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    answers, asked = [], []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            request = b""
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                request += line
            asked.append(request.decode())
            self.wfile.write(answers.pop(0) if answers[1:] else answers[0])

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # A client that has heard enough hangs up.

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv(downloads.MIRROR_VARIABLE, address)

    def start(*new):
        answers[:], asked[:] = new, []
        return asked

    yield start
    server.shutdown()
    server.server_close()
    thread.join()


REFUSED = {
    "empty": (answer(b""), "says that it has '0' bytes"),
    "empty chunks": (chunked(), "0 of . bytes arrived"),
    "no length": (answer(CONTENT, length=False), "does not say its length"),
    "a bad length": (
        answer(CONTENT, "Content-Length: many", length=False),
        "says that it has 'many' bytes",
    ),
    "a negative length": (
        answer(CONTENT, "Content-Length: -5", length=False),
        "says that it has '-5' bytes",
    ),
    "a huge length": (
        answer(CONTENT, f"Content-Length: {10**17}", length=False),
        "100,000,000,000,000,000 bytes, but .* are free",
    ),
    "cut chunks": (chunked(CONTENT)[:-900], "Incomplete"),
    "an unasked part": (part(CONTENT[:HALF], f"0-{HALF - 1}/*"), "HTTP 206"),
    "the whole as a part": (part(CONTENT, "0-19999/20000"), "HTTP 206"),
    "compressed": (answer(CONTENT, "Content-Encoding: gzip"), "as gzip"),
    "no content": (answer(b"", status="204 No Content"), "HTTP 204"),
    "to FTP": (
        answer(b"", "Location: ftp://127.0.0.1/x", status="302 Found"),
        "from http to ftp",
    ),
    "to a file": (
        answer(b"", "Location: file:///etc/passwd", status="302 Found"),
        "not allowed|302",
    ),
    "no HTTP": (b"220 ready\r\n", "220"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_answer_is_one_line_and_nothing_is_kept(case, serve, tmp_path):
    wrong, said = REFUSED[case]
    serve(wrong)
    with pytest.raises(OSError, match=said) as caught:
        downloads.fetch(URL)
    line = str(caught.value)
    assert line.startswith("Cannot download b0.h5") and "\n" not in line
    folder = tmp_path / "cache" / "models"
    assert {path.suffix for path in folder.iterdir()} <= {".part", ".json"}
    serve(WHOLE)
    with open(downloads.fetch(URL), "rb") as file:
        assert file.read() == CONTENT


RESUMED = {
    "in order": (part(CONTENT[HALF:], END, ETAG), 2),
    # After these, the whole file is asked for once more.
    "at a wrong place": (part(CONTENT[99:], "99-19999/20000", ETAG), 3),
    "not to the end": (
        part(CONTENT[HALF:-9], f"{HALF}-19990/20000", ETAG),
        3,
    ),
    "of another version": (part(OTHER[HALF:], END, 'ETag: "two"'), 3),
    "of no version": (part(OTHER[HALF:], END), 3),
    "of a weak version": (part(OTHER[HALF:], END, 'ETag: W/"one"'), 3),
    "without a place": (
        answer(OTHER[HALF:], ETAG, status="206 Partial Content"),
        3,
    ),
    "of no range": (answer(b"", status="416 Range Not Satisfiable"), 3),
}


@pytest.mark.parametrize("case", RESUMED)
def test_only_the_rest_of_the_same_file_is_appended(case, serve):
    second, requests = RESUMED[case]
    asked = serve(cut(WHOLE), second, WHOLE)
    with open(downloads.fetch(URL), "rb") as file:
        assert file.read() == CONTENT
    assert len(asked) == requests
    ranges = [re.findall("Range: (bytes.*)\r", request) for request in asked]
    assert ranges[:2] == [[], [f"bytes={HALF}-"]]


def test_what_comes_in_chunks_is_whole_or_refused(serve):
    serve(chunked(CONTENT[:HALF], CONTENT[HALF:]))
    with open(downloads.fetch(URL), "rb") as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize(
    "state",
    ["[]", "7", "{}", "x", '{"validator": 7}', '{"validator": "a\\nb"}'],
)
def test_a_damaged_note_begins_anew(state, serve, tmp_path):
    folder = tmp_path / "cache" / "models"
    folder.mkdir(parents=True)
    (folder / "b0.h5.part").write_bytes(OTHER[:HALF])
    (folder / "b0.h5.part.json").write_text(state)
    serve(WHOLE)
    with open(downloads.fetch(URL, DIGEST), "rb") as file:
        assert file.read() == CONTENT


def test_a_secure_download_stays_secure():
    redirects = http_files.Redirects()
    request = urllib.request.Request("https://a.example/x")
    rest = (io.BytesIO(), 302, "", {})
    for target in ("http://a.example/x", "ftp://a.example/x"):
        with pytest.raises(OSError, match="which is not safe"):
            redirects.redirect_request(request, *rest, target)
    redirects.redirect_request(request, *rest, "https://b.example")


def test_a_server_that_drips_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(http_files, "SLOW_SECONDS", -1)
    monkeypatch.setattr(http_files, "SLOW_BYTES", 10**6)
    serve(WHOLE)
    with pytest.raises(OSError, match="bytes arrived in"):
        downloads.fetch(URL)


def test_two_processes_download_a_file_once(serve):
    asked, paths = serve(WHOLE), []

    def fetch():
        paths.append(downloads.fetch(URL, DIGEST))

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 6
    assert len(asked) == 1
    with open(paths[0], "rb") as file:
        assert file.read() == CONTENT
