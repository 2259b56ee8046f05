"""The page's server, and where its packages come from."""

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

import paths
from efficientnet_tf.deploy.demo import packages, server


@pytest.fixture
def served(tmp_path):
    """The address of a folder."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "site"
    (folder / "wasm").mkdir(parents=True)
    for name in ("index.html", "page.js", "wasm/a.wasm", "model.tflite"):
        (folder / name).write_text("text")
    with server.bind(folder, 0) as bound:
        server.listen(bound)
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{bound.server_port}/"
        bound.shutdown()


def test_the_server_gives_out_the_folder_alone(served, tmp_path):
    types = {
        "": "text/html",
        "page.js": "text/javascript",
        "wasm/a.wasm": "application/wasm",
        "model.tflite": "application/octet-stream",
    }
    for path, kind in types.items():
        with urllib.request.urlopen(served + path) as answer:
            assert answer.headers.get_content_type() == kind
            for name, value in server.HEADERS.items():
                assert answer.headers[name] == value
    for path in ("wasm/", "../secret", "%2e%2e/secret", "none"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(served + path)
    port = int(served.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 cannot be"):
        server.bind(tmp_path, port)


SERVE = """
import sys
from efficientnet_tf.deploy.demo import server
bound = server.bind(sys.argv[1], 0)
server.listen(bound)
print(bound.server_port, flush=True)
server.serve(bound)
print("ended")
"""


@pytest.mark.parametrize("number", server.SIGNALS)
def test_a_signal_ends_the_server(tmp_path, number):
    (tmp_path / "page.js").write_text("text")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
    )
    port = int(process.stdout.readline())
    url = f"http://127.0.0.1:{port}/page.js"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"text"
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, "ended\n")


def test_packages_come_from_the_registry_that_is_named(tmp_path, monkeypatch):
    """What has another hash is refused, and not kept."""
    package = packages.PACKAGES[1]
    archive = tmp_path / "npm" / package.path
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"not the published one")
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path / "cache"))
    with server.bind(tmp_path, 0) as bound:
        server.listen(bound)
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        registry = f"http://127.0.0.1:{bound.server_port}/npm/"
        monkeypatch.setenv(packages.REGISTRY_VARIABLE, registry)
        with pytest.raises(ValueError, match="its sha512 is .*, not 3e51|e1f2"):
            packages.fetch(package)
        archive.unlink()
        with pytest.raises(OSError, match=f"{registry}.*404"):
            packages.fetch(package)
        bound.shutdown()
    assert not list((tmp_path / "cache").rglob("*.tgz"))
