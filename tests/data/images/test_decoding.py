import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import image_files
from efficientnet_tf.data.images import decoding, formats, headers, pillow_files

FILES = {
    f"{kind}: {name}": encoded
    for kind, make in image_files.MAKERS.items()
    for name, encoded in make().items()
}

# Of those, what an exported model refuses, and what it says.
REFUSED = {
    "TIFF": "TIFF",
    "BMP: palette": "BMP with a palette",
    "BMP: 16": "16 bits a pixel",
    "BMP: more bytes": "bytes after its pixels",
    "BMP: 24 core": "BMP",
    "BMP: 32 in masks": "bit masks",
    "BMP: 8 in runs": "compression",
    "GIF: palette + transparency": "GIF with transparency",
    "GIF: animated + transparency": "GIF with transparency",
    "GIF: small frame": "smaller than the canvas",
    "WebP: animated": "animated WebP",
    "JPEG: CMYK without Adobe's mark": "CMYK without Adobe marker",
}


def _read_with_pillow(encoded):
    with warnings.catch_warnings(action="ignore"):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """Returns {route: function from bytes to pixels}."""
    path = tmp_path_factory.mktemp("decode") / "image"

    def read_file(encoded):
        path.write_bytes(encoded)
        return decoding.read_image(path).numpy()

    spec = [tf.TensorSpec([], "string")]
    compiled = {
        name: tf.function(function, input_signature=spec)
        for name, function in {
            "pipeline": decoding.decode,
            # The crop of training: here it is the whole image.
            "crop": lambda image: decoding.decode_crop(
                image, lambda shape: tf.concat([[0, 0], shape[:2]], 0)
            ),
            "export": decoding.decode_in_graph,
        }.items()
    }
    made = {"file": read_file}
    for name, function in compiled.items():
        made[name] = lambda encoded, f=function: f(encoded).numpy()
    return made


def _check(routes, files, refused):
    """Compares every route's pixels with Pillow's: {name: bytes}.

    In one test, because a new seed compiles all functions anew.
    """
    for name, encoded in files.items():
        expected = _read_with_pillow(encoded)
        refusal = next(
            (said for start, said in refused.items() if name.startswith(start)),
            None,
        )
        named = decoding.name_not_exact(tf.constant(encoded))
        assert bool(named) == bool(refusal), (name, named)
        for route, decode in routes.items():
            if route == "export" and refusal:
                with pytest.raises(
                    tf.errors.InvalidArgumentError, match=refusal
                ):
                    decode(encoded)
                continue
            found = decode(encoded)
            assert found.dtype == "uint8"
            assert found.shape == expected.shape, (name, route)
            difference = np.abs(found.astype(int) - expected.astype(int))
            limit = 2 if "JPEG" in name else 0
            assert difference.max() <= limit, (name, route, difference.max())


def test_every_route_gives_the_pixels_that_pillow_shows(routes):
    _check(routes, FILES, REFUSED)


# Orientation, as the EXIF standard numbers them, and where in the file the
# picture's top left, top right and bottom left pixels are: (row, column).
ORIENTATIONS = {
    1: ((0, 0), (0, -1), (-1, 0)),
    2: ((0, -1), (0, 0), (-1, -1)),
    3: ((-1, -1), (-1, 0), (0, -1)),
    4: ((-1, 0), (-1, -1), (0, 0)),
    5: ((0, 0), (-1, 0), (0, -1)),
    6: ((-1, 0), (0, 0), (-1, -1)),
    7: ((-1, -1), (0, -1), (-1, 0)),
    8: ((0, -1), (-1, -1), (0, 0)),
}

TURNED = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WebP": {"lossless": True},
    "TIFF": {},
    "CMYK JPEG": {"quality": 95},
}


def _make_turned():
    """Returns {kind, orientation and byte order: (bytes, bytes untagged)}."""
    made = {}
    for kind, options in TURNED.items():
        image = image_files.make_picture(48, 34)
        if kind.startswith("CMYK"):
            image = image.convert("CMYK")
        plain = image_files.encode(image, kind.split()[-1], **options)
        for orientation in ORIENTATIONS:
            for order in "<>":
                options["exif"] = image_files.make_exif(orientation, order)
                made[f"{kind} {orientation} {order}"] = (
                    image_files.encode(image, kind.split()[-1], **options),
                    plain,
                )
    return made


def test_photographs_are_turned_as_exif_says(routes):
    made = _make_turned()
    _check(routes, {name: m[0] for name, m in made.items()}, {"TIFF": "TIFF"})
    _check(routes, UNUSUAL, dict.fromkeys(HIDDEN, "in a compressed text"))
    for name, (encoded, plain) in made.items():
        stored, found = _read_with_pillow(plain), routes["file"](encoded)
        orientation = int(name.split()[-2])
        corners = [stored[place] for place in ORIENTATIONS[orientation]]
        np.testing.assert_array_equal(
            [found[0, 0], found[0, -1], found[-1, 0]], corners, name
        )


def _segment(code, content):
    return (
        b"\xff" + bytes([code]) + struct.pack(">H", len(content) + 2) + content
    )


def _put_before(jpeg, *segments):
    return b"".join((jpeg[:2], *segments, jpeg[2:]))


def _tiff(*entries, order="<", count=None):
    """Returns EXIF data of (tag, type, count, value) entries."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    data = mark + struct.pack(f"{order}IH", 8, count or len(entries))
    for tag, kind, number, value in entries:
        packed = value
        if not isinstance(value, bytes):
            packed = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value)
        data += struct.pack(f"{order}HHI", tag, kind, number)
        data += packed.ljust(4, b"\0")
    return data + bytes(4)


def _make_unusual_exif():
    jpeg = image_files.make_jpegs()["RGB"]
    png = image_files.make_pngs()["RGB"]
    six = (0x0112, 3, 1, 6)

    def app1(tiff):
        return _segment(0xE1, b"Exif\0\0" + tiff)

    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    xmp = _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    profile = [_segment(0xE2, bytes(60_000)) for _ in range(3)]
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
    return {
        "a long": _put_before(jpeg, app1(_tiff((0x0112, 4, 1, 6)))),
        "text": _put_before(jpeg, app1(_tiff((0x0112, 2, 2, b"6\0")))),
        "a signed byte": _put_before(jpeg, app1(_tiff((0x0112, 6, 1, b"\6")))),
        "out of range": _put_before(jpeg, app1(_tiff((0x0112, 3, 1, 9)))),
        "two values": _put_before(
            jpeg, app1(_tiff((0x0112, 3, 2, b"\6\0\6\0")))
        ),
        "zero": _put_before(jpeg, app1(_tiff((0x0112, 3, 1, 0)))),
        "twice": _put_before(jpeg, app1(_tiff((0x0112, 3, 1, 3), six))),
        "cut short": _put_before(jpeg, app1(_tiff(six, count=9)[:-4])),
        "nothing": _put_before(jpeg, _segment(0xE1, b"Exif\0\0")),
        "no order": _put_before(jpeg, app1(b"XX" + _tiff(six)[2:])),
        "far directory": _put_before(
            jpeg, app1(b"II*\0" + struct.pack("<I", 2**31 - 1) + bytes(20))
        ),
        "after profiles": _put_before(jpeg, *profile, app1(_tiff(six))),
        "after filling": _put_before(jpeg, b"\xff\xff\xff", app1(_tiff(six))),
        "after a comment": _put_before(
            jpeg, _segment(0xFE, b"CREATOR"), app1(_tiff(six, order=">"))
        ),
        "after XMP": _put_before(jpeg, xmp, app1(_tiff((0x0112, 3, 1, 8)))),
        "XMP alone": _put_before(jpeg, xmp),
        "PNG XMP": png[:33] + _chunk(b"iTXt", text) + png[33:],
        "PNG at the end": png[:-12] + _chunk(b"eXIf", _tiff(six)) + png[-12:],
        "PNG prefixed": png[:33]
        + _chunk(b"eXIf", b"Exif\0\0" + _tiff(six))
        + png[33:],
        "JPEG prefixed twice": _put_before(
            jpeg, app1(b"Exif\0\0" + _tiff(six))
        ),
        "a directory's type": _put_before(
            jpeg, app1(_tiff((0x0112, 13, 1, 6)))
        ),
        "PNG XMP as tEXt": png[:33]
        + _chunk(b"tEXt", b"XML:com.adobe.xmp\0" + packet)
        + png[33:],
        "PNG XMP as zTXt": png[:33]
        + _chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(packet))
        + png[33:],
        "PNG XMP compressed": png[:33]
        + _chunk(
            b"iTXt",
            b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet),
        )
        + png[33:],
        "PNG raw profile": png[:33]
        + _chunk(
            b"tEXt",
            b"Raw profile type exif\0\nexif\n%8d\n" % (6 + len(_tiff(six)))
            + (b"Exif\0\0" + _tiff(six)).hex().encode(),
        )
        + png[33:],
    }


def _chunk(name, data):
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


UNUSUAL = _make_unusual_exif()
HIDDEN = ("PNG raw profile", "PNG XMP as zTXt", "PNG XMP compressed")


# Bits in use, what the file says of them (sBIT) or None, bits of the range.
DEPTHS = [
    (8, None, 8),
    (9, None, 10),
    (10, None, 10),
    (12, None, 12),
    (14, None, 14),
    (16, None, 16),
    (11, 12, 12),  # A dark image of a camera of 12 bits.
    (16, 12, 16),  # Stretched to all 16, as the PNG standard has it.
    (9, 16, 16),
]


def test_16_bits_are_scaled_by_those_in_use(routes, tmp_path):
    ramp = np.linspace(0, 1, 24 * 17).reshape(17, 24, 1)
    for used, said, depth in DEPTHS:
        samples = np.round(ramp * (2**used - 1)).astype("uint16")
        expected = np.repeat(samples >> (depth - 8), 3, axis=-1)
        full = np.repeat(samples >> 8, 3, axis=-1)
        for kind, bands in ((image_files.GREY, 1), (image_files.RGB, 3)):
            chunks = [(b"sBIT", bytes([said] * bands))] if said else []
            encoded = image_files.make_png(
                samples.repeat(bands, axis=-1), 16, kind, chunks
            )
            for route in ("file", "export"):
                np.testing.assert_array_equal(
                    routes[route](encoded), expected, f"{used} {said} {route}"
                )
            (tmp_path / "deep.png").write_bytes(encoded)
            found = decoding.read_image(tmp_path / "deep.png", "full")
            np.testing.assert_array_equal(found, full)
        if said is None:
            tiff = image_files.encode(Image.fromarray(samples[..., 0]), "TIFF")
            np.testing.assert_array_equal(routes["file"](tiff), expected)


def test_a_file_with_more_parts_than_are_looked_at_is_left_to_pillow(
    monkeypatch,
):
    png = image_files.encode(Image.new("RGB", (2, 2)), "PNG")
    texts = _chunk(b"tEXt", b"a\0b") * 5
    many = tf.constant(png[:33] + texts + png[33:])
    read = headers._read_any.python_function
    assert read(many).exact
    monkeypatch.setattr(headers, "_MOST_PARTS", 6)
    assert not read(many).exact


def _make_broken():
    rgb = image_files.make_picture(64, 48)
    jpeg, png = (image_files.encode(rgb, kind) for kind in ("JPEG", "PNG"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    noisy = bytearray(image_files.encode(Image.fromarray(noise), "PNG"))
    noisy[len(noisy) // 2] ^= 0xFF
    floats = Image.fromarray(np.ones((4, 4), "float32"))
    damaged = "damaged or truncated"
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], f"{damaged} JPEG"),
        "truncated.png": (png[: len(png) // 2], f"{damaged} PNG"),
        "middle.png": (bytes(noisy), f"{damaged} PNG"),
        "header.jpg": (jpeg[:20], f"{damaged} JPEG"),
        "one.jpg": (b"\xff", "is not an image"),
        "zero.jpg": (b"", "is empty"),
        "text.jpg": (b"These are words.\n" * 9, "is not an image"),
        "text.bmp": (b"BMW is a make of cars.\n", "is not an image"),
        "truncated.tif": (
            image_files.make_tiffs()["RGB"][:500],
            "TIFF",
        ),
        "floats.tif": (image_files.encode(floats, "TIFF"), "floating-point"),
        "large.tif": (
            image_files.encode(Image.new("I", (4, 4), 70_000), "TIFF"),
            "outside 0 to 65535",
        ),
        "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC"),
        "book.pdf": (b"%PDF-1.7" + bytes(99), "is a PDF"),
    }


def test_a_file_that_cannot_be_read_gives_one_line_with_its_name(tmp_path):
    for name, (encoded, reason) in _make_broken().items():
        (tmp_path / name).write_bytes(encoded)
        with pytest.raises(OSError, match=reason) as caught:
            decoding.read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "nothing.jpg", tmp_path):
        with pytest.raises(OSError, match=path.name):
            decoding.read_image(path)


def test_formats_are_told_by_their_first_bytes():
    for name, encoded in FILES.items():
        assert formats.identify(encoded) == name.split(":")[0]
    picture = image_files.make_picture()
    assert formats.identify(image_files.encode(picture, "AVIF")) == "AVIF"
    assert formats.identify(image_files.encode(picture, "PPM")) == "Netpbm"
    assert formats.identify(b"BMW makes cars, and") == ""
    assert formats.identify(b"") == ""


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"II*\0", "a TIFF, which an exported model cannot decode"),
        (b"\0\0\0\x1cftypavif", "an AVIF, which an exported model"),
        (b"v/1\x01", "an OpenEXR, which an exported model cannot decode"),
        (b"P6\n", "a Netpbm, which an exported model cannot decode"),
        (FILES["BMP: palette 4"], "a BMP with a palette, .* cannot decode"),
        (b"These are words.", "not an image in a known format"),
    ],
)
def test_what_an_exported_model_cannot_decode_is_named(encoded, said):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{said}"):
        decoding.decode_in_graph(tf.constant(encoded + bytes(200)))


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_deep_colours_that_pillow_cuts_are_refused(tmp_path, kind):
    path = tmp_path / "deep"
    for bits, refused in ((12, True), (14, True), (15, False), (16, False)):
        samples = np.full((4, 4, 3), 2**bits - 256, "uint16")
        ppm = b"P6\n4 4\n65535\n" + samples.astype(">u2").tobytes()
        path.write_bytes(ppm if kind == "PPM" else _make_deep_tiff(samples))
        for deep_pixels in (None, "used", "full"):
            if refused:
                with pytest.raises(OSError, match="uses 14 or fewer"):
                    decoding.read_image(path, deep_pixels)
            else:
                found = decoding.read_image(path, deep_pixels).numpy()
                np.testing.assert_allclose(found, samples >> 8, atol=1)
    samples = np.full((4, 4, 3), 2**11, ">u2")
    path.write_bytes(b"P6\n4 4\n4095\n" + samples.tobytes())
    assert decoding.read_image(path).numpy().max() == 128


def _make_deep_tiff(samples):
    """Writes a TIFF of 16 bits a colour, which Pillow does not."""
    height, width, bands = samples.shape
    data = samples.astype("<u2").tobytes()
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8)),
        *((259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14), (277, 3, 1, bands)),
        *((278, 4, 1, height), (279, 4, 1, len(data))),
    ]
    start = 14 + len(data)
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHI3H", b"II", 42, start, 16, 16, 16)
        + data
        + struct.pack("<H", len(entries))
        + packed
        + bytes(4)
    )


def test_other_formats_of_pillow_are_read(tmp_path):
    for kind in ("AVIF", "PPM", "JPEG2000", "ICO"):
        path = tmp_path / "no_suffix"
        path.write_bytes(image_files.encode(image_files.make_picture(), kind))
        np.testing.assert_array_equal(
            decoding.read_image(path), _read_with_pillow(path.read_bytes())
        )


def test_the_bits_in_use_are_counted():
    counted = {
        largest: pillow_files.count_bits(np.array([0, largest]))
        for largest in (0, 255, 256, 1023, 1024, 4095, 4096, 16383, 65535)
    }
    assert list(counted.values()) == [8, 8, 10, 10, 12, 12, 14, 14, 16]
