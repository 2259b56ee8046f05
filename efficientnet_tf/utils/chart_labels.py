"""Labels of a chart's points, placed so that none overlap or are cut."""

import math
import typing
from collections.abc import Iterable, Sequence

import numpy as np

if typing.TYPE_CHECKING:
    from matplotlib import axes as mpl_axes, text as mpl_text

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
    left out, and the chart's title says how many are. Call it last: what is
    drawn later is not kept off.

    Args:
      axes: with all dots and lines, and final limits.
      points: (label, x, y, colour), the most important first.
      size: of the letters.

    Returns:
      The labels that are written.
    """
    axes.figure.draw_without_rendering()  # Places the axes.
    scale = axes.figure.dpi / 72
    dots, lines = _find_drawn(axes, scale)
    inside = axes.get_window_extent().extents
    legend = axes.get_legend()
    boxes = [] if legend is None else [legend.get_window_extent().extents]
    written, left_out = [], 0
    for label, x, y, color in points:
        at = axes.transData.transform((x, y))
        text = axes.annotate(
            label, (x, y), xytext=(0, 0), textcoords="offset points",
            fontsize=size, color=color, va="bottom", annotation_clip=False,
        )  # fmt: skip
        text.set_in_layout(False)
        extent = text.get_window_extent()
        for box, leader in _list_places(at, extent.width, extent.height, scale):
            if _is_free(box, leader, at, inside, (boxes, dots, lines)):
                break
        else:
            text.remove()
            left_out += 1
            continue
        offset = (box[:2] - at) / scale
        text.set_position(tuple(offset))
        boxes.append(box)
        if leader is not None:
            ends = axes.transData.inverted().transform(leader.reshape(2, 2))
            axes.plot(*ends.T, "-", color="0.6", lw=0.6, scalex=False,
                      scaley=False)  # fmt: skip
            lines = np.vstack([lines, leader])
        written.append(text)
    if left_out:
        axes.set_title(
            f"{left_out} labels left out: no room", loc="right", fontsize=size
        )
    return written


def _find_drawn(axes, scale):
    """Returns the boxes of dots and the segments of lines, in pixels."""
    dots, lines = [], []
    for line in axes.lines:
        places = line.get_transform().transform_path(line.get_path()).vertices
        if line.get_marker() not in ("None", None, ""):
            radius = (line.get_markersize() / 2 + 1) * scale
            dots += [[*(p - radius), *(p + radius)] for p in places]
        if line.get_linestyle() != "None":
            lines += [[*a, *b] for a, b in zip(places, places[1:], strict=False)]
    return np.reshape(dots, (-1, 4)), np.reshape(lines, (-1, 4))


def _list_places(at, width, height, scale):
    """Yields (box, leader or None) around a point, the best first."""
    for gap in GAPS:
        for angle in ANGLES:
            across = math.cos(math.radians(angle))
            up = math.sin(math.radians(angle))
            centre = at + (
                across * (gap * scale + width / 2),
                up * (gap * scale + height / 2),
            )
            half = np.array([width, height]) / 2
            box = np.concatenate([centre - half, centre + half])
            if gap < LEADER:
                yield box, None
            else:
                near = np.clip(at, box[:2], box[2:])
                yield box, np.concatenate([at, near])


def _is_free(box, leader, at, inside, drawn):
    boxes, dots, lines = drawn
    if (box[:2] < inside[:2]).any() or (box[2:] > inside[2:]).any():
        return False
    if _overlap(box, boxes).any() or _overlap(box, dots).any():
        return False
    if _touch(lines, box).any():
        return False
    if leader is None:
        return True
    # The point's own dot is where the leader begins.
    own = _overlap(np.concatenate([at, at]), dots)
    others: Sequence = [*boxes, *dots[~own]]
    return not any(_touch(leader[None], other).any() for other in others)


def _overlap(box, boxes):
    """Returns which of the boxes [N, 4] a box overlaps."""
    left, bottom, right, top = np.reshape(boxes, (-1, 4)).T
    across = (box[0] <= right) & (left <= box[2])
    return across & (box[1] <= top) & (bottom <= box[3])


def _touch(lines, box):
    """Returns which segments [N, 4] touch a box."""
    x1, y1, x2, y2 = lines.T
    left, bottom, right, top = box
    near = (np.maximum(x1, x2) >= left) & (np.minimum(x1, x2) <= right)
    near &= (np.maximum(y1, y2) >= bottom) & (np.minimum(y1, y2) <= top)
    # The box's corners are not all on one side of the line.
    sides = [
        (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        for x in (left, right)
        for y in (bottom, top)
    ]
    return near & (np.min(sides, axis=0) <= 0) & (np.max(sides, axis=0) >= 0)
