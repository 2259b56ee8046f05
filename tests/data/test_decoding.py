import io
import struct
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps, features

from efficientnet_tf.data import (
    decoding,
    exif,
    formats,
    headers,
    pillow_files,
    preprocessing,
)
from tests.support import image_files

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
    "BMP: 24 core": "BMP",
    "BMP: 32 in masks": "bit masks",
    "BMP: 8 in runs": "compression",
    "GIF: palette + transparency": "GIF with transparency",
    "GIF: animated + transparency": "GIF with transparency",
    "GIF: small frame": "smaller than the canvas",
    "WebP: animated": "animated WebP",
    "JPEG: CMYK without Adobe's mark": "CMYK without Adobe's mark",
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


def _refusal(name):
    return next(
        (said for start, said in REFUSED.items() if name.startswith(start)),
        None,
    )


@pytest.mark.parametrize("name", FILES)
def test_every_route_gives_the_pixels_that_pillow_shows(routes, name):
    expected = _read_with_pillow(FILES[name])
    refusal = _refusal(name)
    for route, decode in routes.items():
        if route == "export" and refusal:
            with pytest.raises(tf.errors.InvalidArgumentError, match=refusal):
                decode(FILES[name])
            continue
        found = decode(FILES[name])
        assert found.dtype == "uint8" and found.shape == expected.shape, route
        difference = np.abs(found.astype(int) - expected.astype(int))
        limit = 2 if "JPEG" in name else 0
        assert difference.max() <= limit, (route, difference.max())


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


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", [">", "<"])
def test_photographs_are_turned_as_exif_says(routes, orientation, order):
    tag = image_files.make_exif(orientation, order)
    for kind, options in TURNED.items():
        image = image_files.make_picture(48, 34)
        if kind.startswith("CMYK"):
            image = image.convert("CMYK")
        kind = kind.split()[-1]
        stored = _read_with_pillow(image_files.encode(image, kind, **options))
        encoded = image_files.encode(image, kind, exif=tag, **options)
        expected = _read_with_pillow(encoded)
        corners = [stored[place] for place in ORIENTATIONS[orientation]]
        for route, decode in routes.items():
            if route == "export" and kind == "TIFF":
                continue
            found = decode(encoded)
            np.testing.assert_array_equal(
                [found[0, 0], found[0, -1], found[-1, 0]], corners, kind
            )
            np.testing.assert_array_equal(found, expected, f"{kind} {route}")


def _segment(code, content):
    return b"\xff" + bytes([code]) + struct.pack(">H", len(content) + 2) + content


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

    packet = (
        b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    )
    xmp = _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    profile = [_segment(0xE2, bytes(60_000)) for _ in range(3)]
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
    return {
        "a long": _put_before(jpeg, app1(_tiff((0x0112, 4, 1, 6)))),
        "text": _put_before(jpeg, app1(_tiff((0x0112, 2, 2, b"6\0")))),
        "a signed byte": _put_before(jpeg, app1(_tiff((0x0112, 6, 1, b"\6")))),
        "out of range": _put_before(jpeg, app1(_tiff((0x0112, 3, 1, 9)))),
        "two values": _put_before(jpeg, app1(_tiff((0x0112, 3, 2, b"\6\0\6\0")))),
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
        "PNG raw profile": png[:33]
        + _chunk(
            b"tEXt",
            b"Raw profile type exif\0\nexif\n%8d\n" % (6 + len(_tiff(six)))
            + (b"Exif\0\0" + _tiff(six)).hex().encode(),
        )
        + png[33:],
    }


def _chunk(name, data):
    import zlib

    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


UNUSUAL = _make_unusual_exif()


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_exif_turns_as_in_pillow(routes, name):
    expected = _read_with_pillow(UNUSUAL[name])
    for route, decode in routes.items():
        if route == "export" and name == "PNG raw profile":
            with pytest.raises(tf.errors.InvalidArgumentError, match="in a tex"):
                decode(UNUSUAL[name])
            continue
        np.testing.assert_array_equal(decode(UNUSUAL[name]), expected, route)
