"""Image files of the kinds that people send: each is decoded otherwise."""

import io

import numpy as np
from PIL import ExifTags, Image


def make(size: int) -> dict[str, bytes]:
    """Returns {kind: bytes} of images larger than `size` pixels a side."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    # Larger than the network's input, wider than high, and the same nowhere.
    shape = (size + 65, size + 33)
    image = Image.fromarray(noise).resize(shape, Image.Resampling.BICUBIC)
    deep = np.asarray(image.convert("L"), "uint16") << 4  # 12 bits.
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    clear = image.copy()
    clear.putalpha(image.convert("L"))
    kinds: tuple[tuple[str, Image.Image, str, dict], ...] = (
        ("a PNG", image, "PNG", {}),
        ("a JPEG", image, "JPEG", {}),
        ("a turned JPEG", image, "JPEG", {"exif": turned}),
        ("a turned PNG", image, "PNG", {"exif": turned}),
        ("a CMYK JPEG", image.convert("CMYK"), "JPEG", {}),
        ("a grey JPEG", image.convert("L"), "JPEG", {}),
        ("a palette PNG", image.quantize(64), "PNG", {"transparency": 3}),
        ("a PNG of 16 bits", Image.fromarray(deep), "PNG", {}),
        ("a GIF", image.quantize(64), "GIF", {}),
        ("a BMP", image, "BMP", {}),
        ("a transparent WebP", clear, "WEBP", {"lossless": True}),
    )
    made = {}
    for kind, picture, suffix, options in kinds:
        buffer = io.BytesIO()
        picture.save(buffer, suffix, **options)
        made[kind] = buffer.getvalue()
    return made
