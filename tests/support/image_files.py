"""Image files of every kind, in memory: {name: (suffix, bytes)}.

What Pillow cannot write (16 bits a channel, fewer bits a pixel in a BMP,
interlaced PNGs) is put together here by the formats' own rules.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 17

# The sample types of a PNG's header.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}

# First column, first row and the steps of Adam7's passes.
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def make_picture(width=WIDTH, height=HEIGHT):
    """Returns a smooth RGB image without any symmetry.

    Smooth, because in noise JPEG decoders differ by more than they do in
    photographs.
    """
    across = np.linspace(0, 1, width)[None, :]
    down = np.linspace(0, 1, height)[:, None]
    planes = (across + 0 * down, down + 0 * across, across * (1 - down))
    pixels = np.stack(planes, axis=-1) * 220 + 20
    return Image.fromarray(pixels.round().astype("uint8"))


def encode(image, kind, **options):
    """Returns what Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_exif(orientation, order=">"):
    """Returns EXIF data as Pillow writes them, in either byte order."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    return exif


def make_png(samples, depth, kind, chunks=(), interlaced=False):
    """Writes a PNG of any depth.

    Args:
      samples: integers [H, W, channels].
      depth: bits a sample.
      kind: GREY, RGB, PALETTE, GREY_ALPHA or RGBA.
      chunks: (name, bytes) to put before the pixels.
      interlaced: whether in Adam7's seven passes.
    """
    height, width, _ = samples.shape
    parts = [samples]
    if interlaced:
        parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7]
    rows = b"".join(
        b"\0" + pack_row(row, depth)
        for part in parts
        if part.size
        for row in part
    )
    header = struct.pack(
        ">IIBBBBB", width, height, depth, kind, 0, 0, interlaced
    )
    chunks = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def pack_row(row, depth):
    """Packs one row's samples, the first in the highest bits."""
    flat = row.reshape(-1).astype("uint16")
    if depth == 16:
        return flat.astype(">u2").tobytes()
    bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype("uint8").reshape(-1)).tobytes()


def make_bmp(
    rows,
    bits,
    *,
    palette=b"",
    masks=b"",
    compression=0,
    top_down=False,
    size=(WIDTH, HEIGHT),
    core=False,
):
    """Writes a BMP around packed `rows`, given from the top to the bottom."""
    width, height = size
    if isinstance(rows, bytes):
        data = rows
    else:
        rows = rows if top_down else rows[::-1]
        data = b"".join(row + bytes(-len(row) % 4) for row in rows)
    if core:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
        palette = b"".join(
            palette[i : i + 3] for i in range(0, len(palette), 4)
        )
    else:
        header = struct.pack(
            "<IiiHHIIiiII",
            40,
            width,
            -height if top_down else height,
            1,
            bits,
            compression,
            len(data),
            2835,
            2835,
            len(palette) // 4,
            0,
        )
    offset = 14 + len(header) + len(masks) + len(palette)
    total = offset + len(data)
    return (
        b"BM"
        + struct.pack("<IHHI", total, 0, 0, offset)
        + header
        + masks
        + palette
        + data
    )


def make_bmps():
    """Returns {name: bytes} of BMPs with every number of bits a pixel."""
    rgb = np.asarray(make_picture())
    made = {}
    for bits in (1, 4, 8):
        shown = make_picture().quantize(2**bits)
        index = np.asarray(shown)[..., None]
        colours = np.zeros((2**bits, 4), "uint8")
        listed = np.array(shown.getpalette(), "uint8").reshape(-1, 3)
        colours[: len(listed), :3] = listed[: 2**bits, ::-1]
        rows = [pack_row(row, bits) for row in index]
        table = colours.tobytes()
        made[f"palette {bits}"] = make_bmp(rows, bits, palette=table)
        made[f"palette {bits} top-down"] = make_bmp(
            rows, bits, palette=table, top_down=True
        )
        made[f"palette {bits} core"] = make_bmp(
            rows, bits, palette=table, core=True
        )
    short = np.asarray(make_picture(), "uint16") >> 3
    x555 = (short[..., 0] << 10) | (short[..., 1] << 5) | short[..., 2]
    x565 = (short[..., 0] << 11) | (short[..., 1] << 6) | short[..., 2]
    made["16"] = make_bmp([r.astype("<u2").tobytes() for r in x555], 16)
    made["16 in 565"] = make_bmp(
        [r.astype("<u2").tobytes() for r in x565],
        16,
        compression=3,
        masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F),
    )
    bgr = rgb[..., ::-1]
    made["24"] = make_bmp([r.tobytes() for r in bgr], 24)
    made["more bytes"] = made["24"] + bytes(2)  # Photoshop adds them.
    made["24 top-down"] = make_bmp(
        [r.tobytes() for r in bgr], 24, top_down=True
    )
    made["24 core"] = make_bmp([r.tobytes() for r in bgr], 24, core=True)
    four = np.concatenate([bgr, bgr[..., :1] // 2], axis=-1)
    made["32"] = make_bmp([r.tobytes() for r in four], 32)
    made["32 top-down"] = make_bmp(
        [r.tobytes() for r in four], 32, top_down=True
    )
    rgbx = np.concatenate([bgr[..., :1] // 2, bgr], axis=-1)
    made["32 in masks"] = make_bmp(
        [r.tobytes() for r in rgbx],
        32,
        compression=3,
        masks=struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00),
    )
    grey = np.asarray(make_picture().convert("L"))
    ramp = np.arange(256, dtype="uint8")[:, None].repeat(4, axis=1)
    runs = b""
    for row in grey[::-1]:
        runs += b"".join(bytes([1, value]) for value in row) + b"\0\0"
    made["8 in runs"] = make_bmp(
        runs + b"\0\1", 8, palette=ramp.tobytes(), compression=1
    )
    return made


def make_pngs():
    """Returns {name: bytes} of PNGs with every sample type and depth."""
    rgb = make_picture()
    grey = np.asarray(rgb.convert("L"), "uint16")[..., None]
    colour = np.asarray(rgb, "uint16")
    alpha = grey[::-1]
    made = {}
    for depth in (1, 2, 4, 8):
        made[f"grey {depth}"] = make_png(grey >> (8 - depth), depth, GREY)
        shown = rgb.quantize(2**depth)
        index = np.asarray(shown)[..., None]
        table = bytes(shown.getpalette()[: 3 * 2**depth])
        chunks = [(b"PLTE", table)]
        made[f"palette {depth}"] = make_png(index, depth, PALETTE, chunks)
        chunks += [(b"tRNS", bytes([0, 128]))]
        made[f"palette {depth} + transparency"] = make_png(
            index, depth, PALETTE, chunks
        )
    key = (b"tRNS", struct.pack(">H", int(grey[3, 3, 0])))
    made["grey + transparency"] = make_png(grey, 8, GREY, [key])
    key = (b"tRNS", struct.pack(">HHH", *map(int, colour[3, 3])))
    made["RGB + transparency"] = make_png(colour, 8, RGB, [key])
    both = np.concatenate([grey, alpha], axis=-1)
    four = np.concatenate([colour, alpha], axis=-1)
    made["grey + alpha"] = make_png(both, 8, GREY_ALPHA)
    made["RGB"] = encode(rgb, "PNG")
    made["RGBA"] = make_png(four, 8, RGBA)
    made["interlaced RGB"] = make_png(colour, 8, RGB, interlaced=True)
    made["interlaced grey 1"] = make_png(grey >> 7, 1, GREY, interlaced=True)
    gamma = [(b"gAMA", struct.pack(">I", 100_000))]
    made["gamma"] = make_png(colour, 8, RGB, gamma)
    made["animated"] = encode(
        rgb, "PNG", save_all=True, append_images=[rgb.rotate(180)]
    )
    return made


def make_jpegs():
    """Returns {name: bytes} of JPEGs in every colour model."""
    rgb = make_picture(48, 34)
    cmyk = rgb.convert("CMYK")
    made = {
        "RGB": encode(rgb, "JPEG", quality=95),
        "RGB 4:4:4": encode(rgb, "JPEG", quality=95, subsampling=0),
        "RGB 4:2:2": encode(rgb, "JPEG", quality=95, subsampling=1),
        "not YCC": encode(rgb, "JPEG", quality=95, keep_rgb=True),
        "progressive": encode(rgb, "JPEG", quality=95, progressive=True),
        "grey": encode(rgb.convert("L"), "JPEG", quality=95),
        "CMYK": encode(cmyk, "JPEG", quality=95),
    }
    adobe = made["CMYK"].index(b"Adobe")
    # Written by Pillow as plain CMYK; the samples of a YCCK file are the same,
    # with three of them in another space.
    ycck = bytearray(made["CMYK"])
    ycck[adobe + 11] = 2
    made["YCCK"] = bytes(ycck)
    start = adobe - 4
    made["CMYK without Adobe's mark"] = (
        made["CMYK"][:start] + made["CMYK"][start + 16 :]
    )
    return made


def make_gifs():
    """Returns {name: bytes} of GIFs."""
    rgb = make_picture()
    palette = rgb.quantize(16)
    made = {
        "palette": encode(palette, "GIF"),
        "palette + transparency": encode(palette, "GIF", transparency=3),
        "grey": encode(rgb.convert("L"), "GIF"),
        "1": encode(rgb.convert("1"), "GIF"),
        "interlaced": encode(palette, "GIF", interlace=True),
        "comment": encode(palette, "GIF", comment=b"Created with GIMP"),
        "animated": encode(
            palette, "GIF", save_all=True, append_images=[palette.rotate(180)]
        ),
        "animated + transparency": encode(
            palette,
            "GIF",
            save_all=True,
            append_images=[palette.rotate(180)],
            transparency=3,
        ),
    }
    made["small frame"] = _small_frame(made["palette"])
    made["small frame + transparency"] = _small_frame(
        made["palette + transparency"]
    )
    return made


def _small_frame(gif):
    """Moves a GIF's first frame to (3, 2) on a larger canvas."""
    place = gif.index(b",\0\0\0\0" + struct.pack("<HH", WIDTH, HEIGHT))
    moved = bytearray(gif)
    moved[6:10] = struct.pack("<HH", WIDTH + 8, HEIGHT + 5)
    moved[11] = 2  # The canvas's colour.
    moved[place + 1 : place + 5] = struct.pack("<HH", 3, 2)
    return bytes(moved)


def make_webps():
    """Returns {name: bytes} of WebPs."""
    rgb = make_picture()
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L").rotate(180))
    return {
        "lossy": encode(rgb, "WEBP", quality=90),
        "RGB": encode(rgb, "WEBP", lossless=True),
        "RGBA": encode(rgba, "WEBP", lossless=True, exact=True),
        "lossy RGBA": encode(rgba, "WEBP", quality=90),
        "grey": encode(rgb.convert("L"), "WEBP", lossless=True),
        "animated": encode(
            rgb,
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[rgb.rotate(180)],
        ),
        "animated RGBA": encode(
            rgba,
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[rgba.rotate(180)],
        ),
    }


def make_tiffs():
    """Returns {name: bytes} of TIFFs and of a few more formats of Pillow's."""
    rgb = make_picture()
    palette = rgb.quantize(16)
    made = {
        "1": encode(rgb.convert("1"), "TIFF"),
        "grey": encode(rgb.convert("L"), "TIFF"),
        "grey + alpha": encode(rgb.convert("LA"), "TIFF"),
        "palette": encode(palette, "TIFF"),
        "RGB": encode(rgb, "TIFF"),
        "RGB in LZW": encode(rgb, "TIFF", compression="tiff_lzw"),
        "RGBA": encode(rgb.convert("RGBA"), "TIFF"),
        "CMYK": encode(rgb.convert("CMYK"), "TIFF"),
        "YCC in JPEG": encode(rgb, "TIFF", compression="jpeg", quality=95),
        "several pages": encode(
            rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180)]
        ),
    }
    return made


MAKERS = {
    "PNG": make_pngs,
    "BMP": make_bmps,
    "GIF": make_gifs,
    "WebP": make_webps,
    "TIFF": make_tiffs,
    "JPEG": make_jpegs,
}
