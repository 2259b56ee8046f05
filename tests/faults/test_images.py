"""Image files of strangers: bounded memory and time, one line, no surprise."""

import os
import random
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import image_files
import samples
from efficientnet_tf.data import datasets, preprocessing, resumable
from efficientnet_tf.data.images import decoding, formats
from efficientnet_tf.data.sets import damaged_files, sources
from efficientnet_tf.utils import cache_folder, messages, tables

SIDE = 20_000
PICTURE = image_files.make_picture(64, 48)


def chunk(name, data):
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def put(data, place, new):
    return data[:place] + new + data[place + len(new) :]


def claim_png(width, height, depth=8, kind=2, *chunks):
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(9999)))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return b"".join([start, *chunks, pixels, chunk(b"IEND", b"")])


def claim_jpeg(width, height, **options):
    jpeg = image_files.encode(PICTURE, "JPEG", **options)
    frame = next(
        i for m in (b"\xff\xc0", b"\xff\xc2") if (i := jpeg.find(m)) > 0
    )
    return put(jpeg, frame + 5, struct.pack(">HH", height, width))


def claim_gif(width, height):
    gif = image_files.encode(PICTURE.quantize(16), "GIF")
    size = struct.pack("<HH", width, height)
    frame = gif.index(b",\0\0\0\0" + struct.pack("<HH", 64, 48))
    return put(put(gif, 6, size), frame + 5, size)


def claim_tiff(width, height):
    tiff = image_files.encode(PICTURE, "TIFF")
    for tag, side, value in ((256, 64, width), (257, 48, height)):
        entry = struct.pack("<HHI", tag, 4, 1)
        for kind in (3, 4):
            found = tiff.find(struct.pack("<HHII", tag, kind, 1, side))
            if found > 0:
                tiff = put(tiff, found, entry + struct.pack("<I", value))
    return tiff


def claim_webp(width, height, **options):
    webp = image_files.encode(PICTURE, "WEBP", **options)
    if webp[12:16] == b"VP8L":
        packed = (width - 1) | (height - 1) << 14 | (webp[24] & 0xF0) << 24
        return put(webp, 21, struct.pack("<I", packed))
    return put(webp, 26, struct.pack("<HH", width, height))


HIDDEN = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n    6\n457869660000")
BOMBS = {
    "PNG": claim_png(SIDE, SIDE),
    "1-bit PNG": claim_png(SIDE, SIDE, 1, 0),
    "PNG of 16 bits": claim_png(9000, 9000, 16),
    "PNG with EXIF in a text": claim_png(SIDE, SIDE, 8, 2, HIDDEN),
    "wide PNG": claim_png(2**30, 2**30),
    "JPEG": claim_jpeg(SIDE, SIDE),
    "turned JPEG": claim_jpeg(SIDE, SIDE, exif=image_files.make_exif(6, "<")),
    "progressive JPEG": claim_jpeg(65_000, 65_000, progressive=True),
    "GIF": claim_gif(SIDE, SIDE),
    "WebP": claim_webp(16_383, 16_383),
    "lossless WebP": claim_webp(16_383, 16_383, lossless=True),
    "TIFF": claim_tiff(SIDE, SIDE),
    "Netpbm": b"P6\n%d %d\n255\n" % (SIDE, SIDE) + bytes(999),
}


@pytest.fixture(scope="module")
def routes():
    """Returns what a pipeline and an exported model decode by."""
    spec = [tf.TensorSpec([], "string")]
    made = [
        tf.function(function, input_signature=spec)
        for function in (decoding.decode, decoding.decode_in_graph)
    ]
    for route in made:  # Traced here, which takes its time.
        route(image_files.encode(PICTURE, "PNG"))
    return made


def peak_megabytes():
    """Returns the most memory since the last call, on Linux."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return int(lines["VmHWM"].split()[0]) / 1024


def test_a_bomb_is_refused_by_its_header(routes):
    pipeline, export = routes
    for name, encoded in BOMBS.items():
        if not os.access("/proc/self/clear_refs", os.W_OK):
            pytest.skip("Memory is measured on Linux.")
        peak_megabytes()
        before, begin = peak_megabytes(), time.monotonic()
        with pytest.raises(OSError, match="pixels, more than the") as caught:
            decoding.decode_file(encoded, "x")
        assert "\n" not in str(caught.value), name
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than"):
            pipeline(encoded)
        with pytest.raises(tf.errors.InvalidArgumentError, match="exported"):
            export(encoded)
        assert peak_megabytes() - before < 100, name
        assert time.monotonic() - begin < 10, name


def test_large_photographs_and_long_ones_are_read(routes):
    line = Image.new("RGB", (1, SIDE), (9, 99, 200))
    for shape in ((SIDE, 1), (1, SIDE)):
        encoded = image_files.encode(line.resize(shape), "PNG")
        pixels = decoding.decode_file(encoded, "x")
        assert pixels.shape == (*shape[::-1], 3)
        for route in routes:
            np.testing.assert_array_equal(route(encoded), pixels)
    # A phone's: read by its header alone, since there are no pixels behind.
    phone = tf.constant(claim_jpeg(12_000, 9_000))
    assert decoding.name_not_exact(phone) == ""
    assert 12_000 * 9_000 <= formats.MOST_PIXELS


def test_a_jpeg_of_endless_scans_is_refused():
    jpeg = image_files.encode(PICTURE, "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    many = jpeg[:-2] + 5000 * scan + jpeg[-2:]
    with pytest.raises(OSError, match=r"JPEG of 5,0\d\d scans"):
        decoding.decode_file(many, "x")
    decoding.decode_file(jpeg + 70 * b"\xff\xda" + bytes(2**20), "x")


def make_damaged():
    """Returns {name: (bytes, whether Pillow reads them as well)}."""
    encode = image_files.encode
    jpeg, png, gif = (
        encode(image, kind)
        for image, kind in (
            (PICTURE, "JPEG"),
            (PICTURE, "PNG"),
            (PICTURE.quantize(64), "GIF"),
        )
    )
    slow = encode(PICTURE, "JPEG", progressive=True)
    end = png[-12:]
    begin = png.index(b"IDAT") - 4
    size = struct.unpack(">I", png[begin : begin + 4])[0]
    pixels = png[begin + 8 : begin + 8 + size]
    half = pixels[: size // 2]
    flipped = put(pixels, size // 2, bytes([pixels[size // 2] ^ 64]))
    return {
        # libjpeg fills up with grey, for everybody.
        "JPEG cut, with an end": (
            jpeg[: len(jpeg) * 9 // 10] + jpeg[-2:],
            True,
        ),
        "progressive": (slow[: len(slow) * 9 // 10] + slow[-2:], True),
        "JPEG cut": (jpeg[: len(jpeg) // 2], False),
        "PNG cut, with an end": (png[: len(png) // 2] + end, False),
        "half the pixels": (png[:begin] + chunk(b"IDAT", half) + end, False),
        "no pixels": (png[:begin] + end, False),
        "bad deflate": (png[:begin] + chunk(b"IDAT", flipped) + end, False),
        "wrong check sum": (put(png, begin + 8 + size, b"abcd"), False),
        "wrong check sum of the head": (put(png, 29, b"abcd"), False),
        "GIF cut, with an end": (gif[: len(gif) // 2] + b";", False),
        "WebP cut": (encode(PICTURE, "WEBP")[:-40], False),
        "BMP cut": (encode(PICTURE, "BMP")[:-40], False),
        "TIFF cut": (encode(PICTURE, "TIFF")[:900], False),
    }


def crop(encoded, seed):
    """Decodes a random part, as in training."""

    def draw(shape):
        low = tf.random.stateless_uniform([2], seed, maxval=0.9)
        size = tf.cast(shape[:2], "float32")
        begin = tf.cast(low * size, "int32")
        return tf.concat([begin, tf.maximum((shape[:2] - begin) // 2, 1)], 0)

    return tf.shape(decoding.decode_crop(encoded, draw))


@pytest.fixture(scope="module")
def compiled_crop():
    spec = [tf.TensorSpec([], "string"), tf.TensorSpec([2], "int32")]
    return tf.function(crop, input_signature=spec)


def is_read(function, *arguments):
    """Whether an image is read; if not, it must end in a line."""
    try:
        function(*arguments)
    except OSError as error:
        assert "\n" not in str(error)
        return False
    except tf.errors.InvalidArgumentError as error:
        line = messages.without_graph(error.message)
        assert "\n" not in line and "{{" not in line and "[[" not in line
        return False
    return True


def check_routes(encoded, routes, compiled_crop):
    """Returns whether a file passes the check; then all must decode it."""
    passed = is_read(decoding.decode_file, encoded, "x")
    pipeline, export = routes
    assert is_read(pipeline, encoded) == passed
    if passed:
        for seed in range(4):
            assert is_read(compiled_crop, encoded, tf.constant([seed, 1]))
    else:  # TensorFlow reads a few GIFs that Pillow does not.
        is_read(export, encoded)
    return passed


def test_what_passes_the_check_is_decoded_in_training(routes, compiled_crop):
    for name, (encoded, readable) in make_damaged().items():
        assert check_routes(encoded, routes, compiled_crop) == readable, name


@pytest.mark.nightly
def test_no_damage_passes_the_check_and_breaks_a_run(routes, compiled_crop):
    seed = int(os.environ.get("FUZZ_SEED", time.time()))
    print(f"FUZZ_SEED={seed}")
    draw = random.Random(seed)
    whole = [
        encoded
        for make in image_files.MAKERS.values()
        for encoded in make().values()
    ]
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", 60))
    cases, slowest = 0, 0.0
    while time.monotonic() < end:
        data = bytearray(draw.choice(whole))
        for _ in range(draw.choice((1, 1, 2, 8))):
            place = draw.randrange(len(data))
            kind = draw.randrange(5)
            if kind == 0:
                data[place] ^= 1 << draw.randrange(8)
            elif kind == 1:
                data[place] = draw.choice((0, 1, 127, 128, 255))
            elif kind == 2:
                data[place : place + 20] = bytes(20)
            elif kind == 3:
                data[place:place] = data[place : place + draw.randrange(40)]
            else:
                del data[max(place, 4) :]
                data += draw.choice((b"", b"\xff\xd9", b";"))
        begin = time.monotonic()
        check_routes(bytes(data), routes, compiled_crop)
        slowest = max(slowest, time.monotonic() - begin)
        cases += 1
    print(f"{cases:,} cases; the slowest took {slowest:.1f} s")
    assert slowest < 10


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    begin = time.monotonic()
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        with pytest.raises(OSError):
            decoding.read_image(path)
    good, bad = damaged_files.examine(tmp_path, paths)
    assert not good and set(bad) == set(paths)
    assert all("\n" not in why and p.name in why for p, why in bad.items())
    assert time.monotonic() - begin < 10


def test_an_image_that_vanishes_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv(cache_folder.CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = samples.make_folder(tmp_path / "f", {"a": 3, "b": 3})
    # Neither UTF-8 nor of one line, and like what TensorFlow adds.
    file = os.fsencode(folder / "a") + b"/0] x\n{{\xff}}.png"
    os.rename(folder / "a" / "000.png", file)
    examples = sources.load(f"folder:{folder}", "all")
    dataset = datasets.make_eval_dataset(
        examples,
        lambda image: preprocessing.preprocess_for_eval(image, 8),
        batch_size=1,
    )
    os.remove(file)
    with pytest.raises(RuntimeError) as caught, resumable.explained():
        list(dataset)
    assert str(caught.value) == (
        "1 of 6 images (16.67%) cannot be read; the limit is 0.00%: "
        f"{folder}/a/0] x\\n{{{{\ufffd}}}}.png"
    )


def test_what_tensorflow_says_is_told_without_its_graph(tmp_path):
    missing = tf.data.Dataset.from_tensors(str(tmp_path / "x.png"))
    with pytest.raises(tf.errors.NotFoundError) as caught:
        list(missing.map(tf.io.read_file))
    said = messages.without_graph(str(caught.value))
    assert said == f"{tmp_path}/x.png; No such file or directory"
    assert tables.to_line("a\nb\x1b[2Jé\udcff") == "a\\nb\\x1b[2Jé\udcff"


def test_postscript_is_not_run(tmp_path):
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    (tmp_path / "x.jpg").write_bytes(page)
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "EPS"
    with pytest.raises(OSError, match="not an image in a known format"):
        decoding.read_image(tmp_path / "x.jpg")
