"""Labels of a chart's points, placed so that none overlap or are cut."""

import typing
from collections.abc import Iterable

import numpy as np

if typing.TYPE_CHECKING:
    from matplotlib import (
        axes as mpl_axes,
        figure as mpl_figure,
        text as mpl_text,
    )

# Points of 1/72 inch between a dot's centre and its label, nearest first; from
# LEADER on a thin line joins them.
GAPS = (6, 9, 13, 18, 26, 36, 50, 70, 95)
LEADER = 13
# Directions in degrees, best first: beside, above and below, then the corners.
ANGLES = (0, 180, 90, 270, 45, 135, 315, 225, *range(15, 360, 30))


def label_points(
    axes: "mpl_axes.Axes",
    points: Iterable[tuple[str, float, float, str]],
    size: float = 8,
) -> list["mpl_text.Annotation"]:
    """Writes labels beside points, off all dots, lines and the legend.

    adjustText moves labels by random forces and may end with overlaps; here a
    label stands at the first free place around its point. One that has none is
    left out, and the axis below says how many are. Call it last: what is
    drawn later is not kept off.

    Args:
      axes: with all dots and lines, and final limits.
      points: (label, x, y, colour), the most important first.
      size: of the letters.

    Returns:
      The labels that are written.
    """
    drawing = typing.cast("mpl_figure.Figure", axes.figure)
    drawing.draw_without_rendering()  # Places the axes.
    scale = drawing.dpi / 72
    dots, lines = _find_drawn(axes, scale)
    inside = axes.get_window_extent().extents
    legend = axes.get_legend()
    boxes = [] if legend is None else [legend.get_window_extent().extents]
    written, left_out = [], 0
    for label, x, y, color in points:
        at = axes.transData.transform((x, y))
        text = _write(axes, label, (x, y), color, size)
        extent = text.get_window_extent()
        places = _list_places(at, extent.width, extent.height, scale)
        found = _find_place(at, places, inside, (boxes, dots, lines))
        if found is None:
            text.remove()
            left_out += 1
            continue
        box, leader = found
        text.set_position(tuple((box[:2] + 1 - at) / scale))
        boxes.append(box)
        if leader is not None:
            _join(axes, leader)
            lines = np.vstack([lines, leader])
        written.append(text)
    if left_out:
        # A title would move all that has been placed.
        axes.set_xlabel(
            f"{axes.get_xlabel()} ({left_out} labels left out: no room)".strip()
        )
    return written


def _write(axes, label, point, color, size):
    text = axes.annotate(
        label,
        point,
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=size,
        color=color,
        va="bottom",
        annotation_clip=False,
    )
    text.set_in_layout(False)
    return text


def _join(axes, leader):
    """Draws a thin line between a point and its label, given in pixels."""
    ends = axes.transData.inverted().transform(leader.reshape(2, 2))
    axes.plot(*ends.T, "-", color="0.6", lw=0.6, scalex=False, scaley=False)


def _find_drawn(axes, scale):
    """Returns the boxes of dots and the segments of lines, in pixels."""
    dots, lines = [], []
    for line in axes.lines:
        places = line.get_transform().transform_path(line.get_path()).vertices
        if line.get_marker() not in ("None", None, ""):
            radius = (line.get_markersize() / 2 + 1) * scale
            dots += [[*(p - radius), *(p + radius)] for p in places]
        if line.get_linestyle() != "None":
            lines += [
                [*a, *b] for a, b in zip(places, places[1:], strict=False)
            ]
    return np.reshape(dots, (-1, 4)), np.reshape(lines, (-1, 4))


def _list_places(at, width, height, scale):
    """Returns boxes [P, 4] around a point, the best first, and their gaps."""
    gaps, angles = (
        each.ravel()
        for each in np.meshgrid(GAPS, np.radians(ANGLES), indexing="ij")
    )
    half = np.array([width, height]) / 2 + 1  # Letters stand on whole pixels.
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centres = at + ways * (gaps[:, None] * scale + half)
    return np.hstack([centres - half, centres + half]), gaps


def _find_place(at, places, inside, drawn):
    """Returns the first free box and its leader or None; None: there is none.

    Args:
      at: the point.
      places: of `_list_places`.
      inside: the box of the axes.
      drawn: boxes, boxes of dots, and lines.
    """
    boxes, dots, lines = drawn
    candidates, gaps = places
    taken = np.vstack([np.reshape(boxes, (-1, 4)), dots])
    free = (candidates[:, :2] >= inside[:2]).all(axis=1)
    free &= (candidates[:, 2:] <= inside[2:]).all(axis=1)
    free &= ~_overlap(candidates, taken).any(axis=1)
    free &= ~_touch(lines, candidates).any(axis=1)
    # The point's own dot is where a leader begins.
    own = _overlap(np.tile(at, 2)[None], taken)[0]
    for i in np.flatnonzero(free):
        box = candidates[i]
        if gaps[i] < LEADER:
            return box, None
        leader = np.concatenate([at, np.clip(at, box[:2], box[2:])])
        if not _touch(leader[None], taken[~own]).any():
            return box, leader
    return None


def _overlap(boxes, others):
    """Returns which boxes [N, 4] overlap which others [M, 4]: bool [N, M]."""
    a, b = boxes[:, None], others[None]
    return ((a[..., :2] <= b[..., 2:]) & (b[..., :2] <= a[..., 2:])).all(
        axis=-1
    )


def _touch(lines, boxes):
    """Returns which boxes [N, 4] which segments [M, 4] touch: bool [N, M]."""
    x1, y1, x2, y2 = lines.T
    left, bottom, right, top = boxes.T[..., None]
    near = (np.maximum(x1, x2) >= left) & (np.minimum(x1, x2) <= right)
    near &= (np.maximum(y1, y2) >= bottom) & (np.minimum(y1, y2) <= top)
    # The box's corners are not all on one side of the line.
    sides = [
        (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        for x in (left, right)
        for y in (bottom, top)
    ]
    return near & (np.min(sides, axis=0) <= 0) & (np.max(sides, axis=0) >= 0)
