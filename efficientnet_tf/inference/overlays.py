"""Pictures of what a network looks at: maps in colour over the image."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from efficientnet_tf.inference import explain
from efficientnet_tf.utils import chart_text, extras, figures

# From violet over green to yellow, each step lighter than the one before, so
# that it is read alike by the colour-blind and in print; no grey, as in
# "cividis", which would be taken for the image's.
COLOURS = "viridis"
# How much of the colour is the map's; the rest is the image in grey.
OPACITY = 0.6
# How much of the grey image remains where the network did not look.
OUTSIDE = 0.35

# Pixels between panels, above them for a title, and right of them for what the
# colours mean.
_GAP, _TITLE, _SCALE = 10, 24, 64
# A panel has room for a title and for the colours beside it; a smaller image is
# enlarged.
_NARROWEST, _LOWEST = 240, 80
# Pixels of a letter of a title, more or less.
_LETTER = 7


def overlay(
    picture: np.ndarray,
    heat: np.ndarray,
    box: Sequence[float] | None = None,
) -> np.ndarray:
    """Lays a map in colour over an image in grey.

    The whole image is shown, not only what the network saw: people know their
    own picture again, and see what the crop has cut off. That part has no
    colour and is paler.

    Args:
      picture: uint8 [H, W, 3].
      heat: a map [h, w] of values in [0, 1], see `explain.scale_maps`.
      box: left, top, right, bottom of what the network saw, in pixels, which
        may lie outside the image; None: all of it.

    Returns:
      uint8 [H, W, 3].
    """
    extras.require("Overlays", "matplotlib")
    height, width = picture.shape[:2]
    left, top, right, bottom = _round_box(box or (0, 0, width, height))
    grey = picture.astype("float32") @ np.array([0.299, 0.587, 0.114])
    grey = np.repeat(grey[..., None], 3, axis=-1)
    painted = 255 * (1 - OUTSIDE) + OUTSIDE * grey
    resized = explain.resize_maps(heat, (bottom - top, right - left))
    # What the network saw of a letterbox's bars is no part of the picture.
    resized = resized[max(-top, 0) :, max(-left, 0) :]
    left, top, right, bottom = _clip_box((left, top, right, bottom), picture)
    inside = np.s_[top:bottom, left:right]
    colour = OPACITY * _colour(resized[: bottom - top, : right - left])
    painted[inside] = colour + (1 - OPACITY) * grey[inside]
    return np.rint(painted).astype("uint8")


def overlay_maps(explained: explain.Explained) -> list[np.ndarray]:
    """Returns the image of each of an image's maps, uint8 [H, W, 3].

    A small image is enlarged.
    """
    explained = enlarge(explained)
    heats = explain.scale_maps(explained.maps)
    return [overlay(explained.picture, heat, explained.box) for heat in heats]


def draw(
    explained: explain.Explained,
    class_names: Sequence[str],
    title: str,
    note: str = "",
) -> np.ndarray:
    """Draws an image beside its maps, each under its class and probability.

    Args:
      explained: an image with its maps.
      class_names: of all outputs.
      title: what stands above the image, such as its file's name.
      note: a line above all, such as the layer that the maps are of.

    Returns:
      uint8 [H, W, 3].
    """
    explained = enlarge(explained)
    width = max(explained.picture.shape[1], _NARROWEST)
    letters = width // _LETTER
    titles = [chart_text.show(title, letters)]
    titles += list_titles(explained, class_names, letters)
    images = [explained.picture, *overlay_maps(explained)]
    images = [mark_box(image, explained.box) for image in images]
    header = [[note] + [""] * (len(images) - 1)] if note else []
    return arrange([images], [titles], header)


def arrange(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[Sequence[str]],
    header: Sequence[Sequence[str]] = (),
) -> np.ndarray:
    """Draws rows of images, each under its title, beside the colours' meaning.

    Args:
      rows: images uint8 [H, W, 3], of one size in a row.
      titles: as many, of a line each.
      header: lines above all, of a text for each column.

    Returns:
      uint8 [H, W, 3].
    """
    width = max(_NARROWEST, *(image.shape[1] for row in rows for image in row))
    columns = max(map(len, rows))
    heights = [_TITLE + max(row[0].shape[0], _LOWEST) for row in rows]
    top = len(header) * _TITLE
    size = (
        top + sum(heights) + _GAP,
        columns * (width + _GAP) + _GAP + _SCALE,
    )
    canvas = np.full((*size, 3), 255, "uint8")
    middles = [
        _GAP + column * (width + _GAP) + width // 2 for column in range(columns)
    ]
    texts = [
        (x, (i + 1) * _TITLE - 8, text)
        for i, line in enumerate(header)
        for x, text in zip(middles, line, strict=True)
    ]
    texts += _draw_scale(canvas, top + _TITLE, heights[0] - _TITLE)
    for row, names, height in zip(rows, titles, heights, strict=True):
        for middle, image, name in zip(middles, row, names, strict=False):
            left = middle - image.shape[1] // 2
            begin = top + _TITLE + (height - _TITLE - image.shape[0]) // 2
            part = canvas[begin : begin + image.shape[0], left:]
            part[:, : image.shape[1]] = image
            texts.append((middle, top + _TITLE - 8, name))
        top += height
    return figures.write_texts(canvas, texts)


def list_titles(
    explained: explain.Explained, class_names: Sequence[str], letters: int
) -> list[str]:
    """Returns "class probability" of each map, of so many letters."""
    titles = []
    rows = zip(
        explained.maps, explained.classes, explained.probabilities, strict=True
    )
    for heat, output, probability in rows:
        end = f" {probability:.1%}"
        if heat.max() <= 0:
            end += ", no evidence"
        name = chart_text.show(class_names[output], letters - len(end))
        titles.append(f"{name}{end}")
    return titles


def enlarge(explained: explain.Explained) -> explain.Explained:
    """Returns a small image in larger pixels, a larger one as it is."""
    height, width = explained.picture.shape[:2]
    times = max(1, _NARROWEST // max(height, width))
    return dataclasses.replace(
        explained,
        picture=explained.picture.repeat(times, 0).repeat(times, 1),
        box=tuple(times * side for side in explained.box),
    )


def mark_box(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Outlines what the network saw in black and white dashes.

    Unless it saw everything.

    Args:
      image: uint8 [H, W, 3].
      box: left, top, right, bottom in pixels.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = _clip_box(_round_box(box), image)
    if (left, top, right, bottom) == (0, 0, width, height):
        return image
    image = image.copy()
    for line in (
        image[top, left:right],
        image[bottom - 1, left:right],
        image[top:bottom, left],
        image[top:bottom, right - 1],
    ):
        dashes = np.arange(len(line)) // 4 % 2
        line[:] = 255 * dashes[:, None]
    return image


def _round_box(box):
    left, top, right, bottom = (round(side) for side in box)
    # What is thinner than a pixel still has one.
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _clip_box(box, picture):
    left, top, right, bottom = box
    height, width = picture.shape[:2]
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _draw_scale(canvas, top, height):
    """Draws the colours at the right; returns their texts."""
    left, top = canvas.shape[1] - _SCALE + 8, top + 16
    height -= 40
    steps = np.linspace(1, 0, height)[:, None]
    canvas[top : top + height, left : left + 14] = _colour(steps)
    middle = left + 20
    return [
        (middle, top - 6, "evidence"),
        (left + 34, top + 12, "most"),
        (left + 34, top + height, "none"),
    ]


def _colour(heat):
    """Maps [H, W] in [0, 1] to float [H, W, 3] in [0, 255]."""
    import matplotlib

    return 255 * matplotlib.colormaps[COLOURS](heat)[..., :3]
