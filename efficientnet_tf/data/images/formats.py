"""Formats of image files, told by their first bytes."""

# A format's name and the (offset, bytes) of its files. TensorFlow decodes the
# first five.
MAGIC: tuple[tuple[str, tuple[tuple[int, bytes], ...]], ...] = (
    ("JPEG", ((0, b"\xff\xd8\xff"),)),
    ("PNG", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("GIF", ((0, b"GIF8"),)),
    # Two letters may begin any text; the size of the second header is small.
    ("BMP", ((0, b"BM"), (15, b"\0\0\0"))),
    ("WebP", ((0, b"RIFF"), (8, b"WEBP"))),
    ("TIFF", ((0, b"II*\0"),)),
    ("TIFF", ((0, b"MM\0*"),)),
    ("BigTIFF", ((0, b"II+\0"),)),
    ("BigTIFF", ((0, b"MM\0+"),)),
    ("AVIF", ((4, b"ftypavi"),)),
    ("HEIC", ((4, b"ftyphe"),)),
    ("HEIC", ((4, b"ftypmif1"),)),
    ("HEIC", ((4, b"ftypmsf1"),)),
    ("JPEG 2000", ((0, b"\0\0\0\x0cjP  "),)),
    ("JPEG 2000", ((0, b"\xff\x4f\xff\x51"),)),
    ("JPEG XL", ((0, b"\xff\x0a"),)),
    ("JPEG XL", ((0, b"\0\0\0\x0cJXL "),)),
    ("PSD", ((0, b"8BPS"),)),
    ("DDS", ((0, b"DDS "),)),
    ("OpenEXR", ((0, b"v/1\x01"),)),
    ("DICOM", ((128, b"DICM"),)),
    ("PDF", ((0, b"%PDF"),)),
    ("QOI", ((0, b"qoif"),)),
    ("ICO", ((0, b"\0\0\1\0"),)),
    *(
        ("Netpbm", ((0, f"P{kind}{space}".encode()),))
        for kind in range(1, 8)
        for space in "\n "
    ),
)
JPEG, PNG, GIF, BMP, WEBP = range(5)
OTHER = 5

# More pixels are refused before they are decoded: a few bytes can stand for any
# number of them. Cameras of phones reach 108 million; with nine bytes a pixel
# while a file is read, that is a gigabyte. Of 16 bits a sample, or of a WebP,
# they take more. Pillow warns at 89 million, and refuses at 179, as TensorFlow
# does.
MOST_PIXELS = 112_000_000
MOST_WIDE_PIXELS = 2**26

# The first bytes of a file, which decide its format, and as many as a GIF's
# frame may come after.
MAGIC_BYTES = 132
HEAD_BYTES = 1024


def identify(head: bytes) -> str:
    """Returns a format's name by a file's first bytes, or "" if unknown.

    Args:
      head: at least `MAGIC_BYTES`, or the whole file.
    """
    for name, parts in MAGIC:
        if all(head[at : at + len(part)] == part for at, part in parts):
            return name
    return ""
