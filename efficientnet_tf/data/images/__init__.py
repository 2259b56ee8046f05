"""Bytes of an image file to upright RGB pixels: formats, EXIF, decoding."""
