"""The command itself: what it prints, its port, its end."""

import io
import json
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

import pytest
from PIL import Image

import image_files
import paths
import servers
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder

COMMAND = [sys.executable, "-m", "efficientnet_tf", "serve"]


@pytest.fixture(scope="module")
def run(tiny_row, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "my run"
    network = builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))
    names = ("a", "b", "c")
    classifier.Classifier(network, names, 32, "bilinear").save(folder)
    return folder


def start(*flags):
    return subprocess.Popen(
        [*COMMAND, *flags],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def process(run):
    flags = ("--port=0", "--max_batch=2", "--max_megapixels=1")
    with start(f"--classifier={run}", *flags) as process:
        try:
            yield process
        finally:
            process.kill()


def make_icon_bomb():
    """An icon that says 16 x 16, with a PNG of 1,300 x 1,300 inside."""
    buffer = io.BytesIO()
    Image.new("RGB", (1300, 1300)).save(buffer, "PNG")
    png = buffer.getvalue()
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


def test_a_server_from_its_first_line_to_its_end(process, run):
    line = process.stdout.readline()
    ready = json.loads(process.stdout.readline())
    url = ready.pop("url")
    assert line == (
        f"Serving my_run at {url}; try: curl -F image=@cat.jpg {url}/predict\n"
    )
    assert url.startswith("http://127.0.0.1:")
    assert ready == {
        "model": "my_run",
        "version": "1",
        "classes": 3,
        "resolution": 32,
        "image_size": "32",
    }
    port = int(url.rpartition(":")[2])
    server = servers.Running(port)
    picture = image_files.encode(image_files.make_picture(), "PNG")
    assert server.post("/predict", picture)[0] == 200
    for data, code in ((b"words", 400), (make_icon_bomb(), 413)):
        status, found, _ = server.post("/predict", data)
        assert status == code, found
    assert "1,690,000 pixels, more than the 1,000,000" in found["error"]
    _check_port_in_use(port, run)

    # In flight: one whose body arrives only after the signal.
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}"
    )
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.sendall(f"{head}\r\n\r\n".encode() + picture[:20])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{url}/v2/health/live", timeout=5)
        link.sendall(picture[20:])
        answer = link.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"predictions"' in answer
    assert process.wait(20) == 0
    # Neither requests nor their errors are logged.
    assert process.stderr.read() == "Stopped; all requests were answered.\n"
    assert process.stdout.read() == ""


def _check_port_in_use(port, run):
    """Before TensorFlow is loaded."""
    program = (
        "import sys\n"
        "from efficientnet_tf.commands import main\n"
        f"sys.argv = ['efficientnet', 'serve', '--classifier={run}', "
        f"'--port={port}']\n"
        "try:\n"
        "    main.main()\n"
        "finally:\n"
        "    assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"efficientnet serve: Port {port} of 127.0.0.1 cannot be used: Address "
        "already in use.\n"
    )
