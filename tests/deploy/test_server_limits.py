"""Too much, too slow, broken: one line, and the others are answered."""

import asyncio
import concurrent.futures
import contextlib
import gzip
import json
import re
import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest

import image_files
import servers
from efficientnet_tf.data.images import decoding

V1, UPLOAD = "/v1/models/net:predict", "/predict"
SIZE = 8
RED, GREEN, GREY = ([255, 0, 0], [0, 255, 0], [51, 51, 51])


@pytest.fixture
def stub():
    return servers.Stub()


@pytest.fixture
def serve(stub):
    """A function that serves `stub` within limits."""
    with contextlib.ExitStack() as stack:

        def start(**limits):
            limits = {"max_batch": 4, "max_queue": 8} | limits
            served = servers.make_classifier(stub, SIZE)
            found = stack.enter_context(servers.running(served, **limits))
            stub.batches.clear()
            return found

        yield start
        stub.gate.set()  # Whatever happened, it can end.


def ask(*colours):
    """The body of a request for images of one colour each."""
    return {"instances": servers.make_pixels(SIZE, *colours).tolist()}


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def best(answer):
    return [row["prediction"] for row in answer["predictions"]]


def make_bombs(side=20_000):
    """Files of a few bytes whose headers say 400 million pixels."""
    picture = image_files.make_picture()

    def patch(kind, place, code, **options):
        data = bytearray(image_files.encode(picture, kind, **options))
        struct.pack_into(code, data, place, side, side)
        return bytes(data)

    png = bytearray(patch("PNG", 16, ">II"))
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    jpeg = image_files.encode(picture, "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    tiff = image_files.encode(picture, "TIFF")
    for tag in (256, 257):
        place = re.search(struct.pack("<H", tag) + b"[\3\4]\0", tiff).start()
        entry = struct.pack("<HHII", tag, 4, 1, side)
        tiff = tiff[:place] + entry + tiff[place + 12 :]
    webp = bytearray(image_files.encode(picture, "WEBP", lossless=True))
    # 14 bits a side, less one, behind the signature.
    webp[21:25] = struct.pack("<I", 16_000 - 1 | (16_000 - 1) << 14)
    return {
        "PNG": bytes(png),
        "GIF": patch("GIF", 6, "<HH"),
        "BMP": patch("BMP", 18, "<ii"),
        "JPEG": jpeg[:frame]
        + struct.pack(">HH", side, side)
        + jpeg[frame + 4 :],
        "TIFF": tiff,
        "WebP": bytes(webp),
        "PPM": b"P6 20000 20000 255\n" + bytes(9),
    }


@pytest.fixture(scope="module")
def bombs():
    return make_bombs()


def test_image_bombs_never_reach_a_decoder(serve, bombs, monkeypatch):
    server = serve(max_megapixels=100)

    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(decoding, "decode_file", refuse)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    for kind, data in bombs.items():
        assert len(data) < 10_000
        status, found, _ = server.post(UPLOAD, data)
        assert (status, kind) == (413, kind), found
        assert "more than the" in found["error"]


def test_an_image_at_the_limit_is_decoded_and_one_beyond_is_not(serve):
    server = serve(max_megapixels=0.0004)
    for side, code in ((20, 200), (21, 413)):
        picture = image_files.make_picture(side, 20)
        status, found, _ = server.post(
            UPLOAD, image_files.encode(picture, "PNG")
        )
        assert status == code, found


def test_a_body_is_limited_however_it_comes(serve):
    server = serve(max_mb=0.001)
    body = b"x" * 1001
    for data, headers in (
        (body, {}),
        (gzip.compress(bytes(10**7)), {"Content-Encoding": "gzip"}),
        servers.make_form(
            [("image", "a", body[:600]), ("image", "b", body[:600])]
        ),
    ):
        status, found, _ = server.post(UPLOAD, data, headers)
        assert status == 413, found
        assert "larger than 0.001 MB" in found["error"]
    # Without saying before how large it is.
    chunks = b"3e9\r\n" + body + b"\r\n0\r\n\r\n"
    answer = talk(
        server,
        b"POST /predict HTTP/1.1\r\nHost: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def talk(server, data):
    """Sends bytes as they are; returns what comes back at first."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as link:
        link.sendall(data)
        return link.recv(4096)


def test_beyond_the_queue_requests_are_refused_and_no_other_is_lost(
    serve, stub
):
    server = serve(max_batch=1, max_queue=3)
    stub.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        begun = [
            pool.submit(server.post, V1, ask(c)) for c in (RED, GREEN, RED)
        ]
        wait_until(lambda: len(server.engine) == 3)
        status, found, headers = server.post(V1, ask(RED))
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "queue of 3 images is full" in found["error"]
        stub.gate.set()
        answers = [each.result() for each in begun]
    assert [(code, *best(found)) for code, found, _ in answers] == [
        (200, "red"),
        (200, "green"),
        (200, "red"),
    ]
    wait_until(lambda: len(server.engine) == 0)
    assert server.post(V1, ask(RED))[0] == 200


def test_a_request_that_no_queue_holds_is_refused_for_good(serve, stub):
    status, found, _ = serve(max_queue=4).post(V1, ask(*[RED] * 5))
    assert (status, stub.batches) == (413, [])
    assert "holds 5 images, more than the 4" in found["error"]


def test_too_many_large_bodies_at_once_are_refused(serve):
    server = serve(max_mb=1, timeout_seconds=5)
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        links = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), 10)
            )
            for _ in range(9)
        ]
        for link in links:
            link.sendall(head)
        # One of them is refused, whichever came last.
        wait_until(lambda: "429" in _metrics(server))
        assert server.get("/v2/health/ready")[0] == 200


def _metrics(server):
    return server.get("/metrics")[1].decode()


def test_a_slow_client_holds_up_nobody_and_is_cut_off(serve):
    server = serve(timeout_seconds=0.5)
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 10) as link:
        link.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nab"
        )
        assert server.post(V1, ask(RED))[0] == 200
        assert time.monotonic() - begin < 0.5
        answer = link.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.5 s" in answer


def test_what_takes_too_long_is_given_up_and_not_computed(serve, stub):
    server = serve(max_batch=1, timeout_seconds=0.4)
    stub.gate.clear()
    for status, found, _ in server.post_all(V1, [ask(RED)] * 3):
        assert (status, found["error"]) == (504, "No answer within 0.4 s.")
    stub.gate.set()
    wait_until(lambda: len(server.engine) == 0)
    assert stub.batches == [1]  # The one that had begun.
    assert server.post(V1, ask(GREEN))[0] == 200


def test_a_client_that_went_away_costs_no_network(serve, stub):
    server = serve(max_batch=1)
    stub.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.post, V1, ask(RED))
        wait_until(lambda: len(server.engine) == 1)
        picture = image_files.encode(image_files.make_picture(), "PNG")
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: "
        link = socket.create_connection(("127.0.0.1", server.port), 10)
        link.sendall(f"{head}{len(picture)}\r\n\r\n".encode() + picture)
        wait_until(lambda: len(server.engine) == 2)
        link.close()
        wait_until(lambda: 'code="499"' in _metrics(server))
        stub.gate.set()
        assert first.result()[0] == 200
    wait_until(lambda: len(server.engine) == 0)
    assert stub.batches == [1]


def test_a_bad_image_fails_its_own_request_alone(serve, stub):
    server = serve(max_batch=8)
    picture = image_files.make_picture()
    good = image_files.encode(picture, "JPEG")
    bodies = [
        good,
        good[: len(good) // 2],
        b"words",
        good,
        b"\xff\xd8\xff",
        good,
    ]
    codes = [code for code, *_ in server.post_all(UPLOAD, bodies)]
    assert codes == [200, 400, 400, 200, 400, 200]


def test_a_network_that_fails_does_not_end_the_server(serve, stub):
    server = serve(max_batch=1)
    stub.bad = {255.0: RuntimeError, 51.0: np.nan}
    for colour, message in (
        (RED, "The server failed: RuntimeError."),
        (GREY, "The network's probabilities are not finite numbers."),
    ):
        status, found, _ = server.post(V1, ask(colour))
        assert (status, found["error"]) == (500, message)
    assert best(server.post(V1, ask(GREEN))[1]) == ["green"]


def test_numbers_that_are_not_finite_fail_their_own_image_alone(serve, stub):
    server = serve(max_batch=4, max_wait_ms=1000)
    stub.bad = {51.0: np.nan}
    stub.gate.clear()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        first = pool.submit(server.post, V1, ask(RED))
        wait_until(lambda: len(server.engine) == 1)
        others = [
            pool.submit(server.post, V1, ask(c)) for c in (GREEN, GREY, RED)
        ]
        wait_until(lambda: len(server.engine) == 4)
        stub.gate.set()
        codes = [each.result()[0] for each in (first, *others)]
    assert codes == [200, 200, 500, 200]
    assert stub.batches == [1, 2, 1]


def test_a_network_of_other_outputs_is_not_served(serve, stub):
    stub.predict_on_batch = lambda images: np.ones((len(images), 2))
    with pytest.raises(RuntimeError, match="2 outputs for 3 class names"):
        serve()
    stub.predict_on_batch = lambda images: np.ones((1, 3))
    with pytest.raises(RuntimeError, match=r"answered 2 images with \[1, 3\]"):
        serve()


def test_every_size_of_batch_is_computed_before_the_first_request(stub):
    served = servers.make_classifier(stub, SIZE)
    with servers.running(served, max_batch=6):
        assert sorted(stub.batches) == [1, 1, 2, 2, 4, 4, 6, 6]


def test_what_is_no_http_is_refused_without_a_log(serve, caplog):
    server = serve()
    for data in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", bytes(99)):
        answer = talk(server, data + b"\r\n\r\n")
        assert answer == b"" or b" 400 " in answer.splitlines()[0]
    server.post(UPLOAD, b"words")
    assert server.post(V1, ask(RED))[0] == 200
    assert not caplog.records


def test_requests_of_many_threads_end(serve, stub):
    server = serve(max_batch=4, max_queue=200)
    done = []

    def work(number):
        colour = (RED, GREEN)[number % 2]
        done.append(best(server.post(V1, ask(colour))[1])[0])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert sorted(done) == ["green"] * 20 + ["red"] * 20
    assert set(stub.batches) <= {1, 2, 4}


def test_at_the_end_answers_are_waited_for_and_missing_ones_counted(
    serve, stub
):
    server = serve(max_batch=1, timeout_seconds=1)

    def drain():
        done = server.server.drain()
        return asyncio.run_coroutine_threadsafe(done, server.loop)

    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: "
    picture = image_files.encode(image_files.make_picture(), "PNG")
    head += f"{len(picture)}\r\n\r\n".encode()
    for gate, count in ((True, 0), (False, 1)):
        with socket.create_connection(("127.0.0.1", server.port), 10) as link:
            link.sendall(head + picture[:9])
            time.sleep(0.1)
            drained = drain()
            time.sleep(0.5)
            if not gate:
                stub.gate.clear()
            link.sendall(picture[9:])  # Its time for an answer begins here.
            assert drained.result(20) == count
            answer = link.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 " if gate else b"HTTP/1.1 504 ")
        assert b"Connection: close" in answer
    assert server.get("/v2/health/ready")[0] == 503


def test_a_server_that_can_compute_nothing_says_that_it_is_not_alive(
    serve, stub, monkeypatch
):
    server = serve(timeout_seconds=1)
    assert server.get("/v2/health/live")[0] == 200

    def fail(*_):
        raise RuntimeError("no batch")

    monkeypatch.setattr(server.engine._batcher, "_take", fail)
    # The request that meets it is not answered before its time is over.
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        met = other.submit(server.post, V1, ask(RED))
        wait_until(lambda: not server.engine.alive)
        status, body, _ = server.get("/v2/health/live")
        assert (status, json.loads(body)) == (503, {"live": False})
        assert server.get("/v2/health/ready")[0] == 503
        status, answer, _ = server.post(V1, ask(RED))
        assert status == 503
        assert answer["error"] == "The server must be started anew."
        assert met.result(20)[0] == 504
