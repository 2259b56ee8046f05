"""Line charts as SVG by hand: no library to import, and the page's colours."""

import dataclasses
import math
from collections.abc import Sequence

from transfer.report import page

_WIDTH, _HEIGHT = 360, 240
# The left side has room for ticks such as -0.005 beside the axis's name.
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 10, 42
MOST_POINTS = 200  # Of a line; more cannot be seen.


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range, where its ticks are, and what it shows."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    percent: bool = True

    def show(self, tick: float) -> str:
        """Returns a tick's label."""
        if not self.percent:
            return f"{tick:g}"
        return f"{100 * tick:.3g}"


@dataclasses.dataclass(frozen=True)
class Series:
    """A named line through points (x, y); `sizes`: as dots of these radii.

    Without `line` there are the dots alone.
    """

    name: str
    points: Sequence[tuple[float, float]]
    sizes: Sequence[float] | None = None
    line: bool = True


def draw(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    caption: str,
    *,
    ideal: bool = False,
) -> str:
    """Returns a figure of lines.

    Args:
      series: two at most have colours of their own.
      x: the axis across.
      y: the axis upwards.
      caption: plain text.
      ideal: also draws where y equals x.
    """
    parts = [_draw_axes(x, y)]
    if ideal:
        ends = [_place(x, y, (at, at)) for at in (x.low, x.high)]
        (x1, y1), (x2, y2) = ends
        parts.append(
            f'<line class="ideal" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
        )
    parts += [_draw_series(i, each, x, y) for i, each in enumerate(series)]
    keys = "".join(
        f'<span class="s{i}"><span class="key"></span>'
        f"{page.escape(each.name)}</span>"
        for i, each in enumerate(series)
    )
    about = page.escape(f"{caption} {y.label} over {x.label}.")
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{about}">{"".join(parts)}</svg>'
        f"<figcaption>{keys}<br>{page.escape(caption)}</figcaption></figure>"
    )


def share_axis(label: str, low: float = 0.0) -> Axis:
    """Returns an axis from a share, rounded down, to all of it, in percent."""
    step = _nice((1 - min(low, 0.95)) / 5)
    first, last = math.floor(low / step + 1e-9), round(1 / step)
    ticks = [i * step for i in range(min(first, last - 1), last + 1)]
    return Axis(label, ticks[0], 1.0, ticks)


def epoch_axis(epochs: Sequence[float]) -> Axis:
    """Returns an axis with whole epochs as ticks."""
    low, high = math.floor(min(epochs)), math.ceil(max(epochs))
    step = _nice((high - low) / 8, whole=True)
    ticks = sorted({low, *range(low - low % step + step, high + 1, step)})
    return Axis("epoch", low, max(high, low + 1), ticks, percent=False)


def value_axis(label: str, values: Sequence[float]) -> Axis:
    """Returns an axis from 0 to beyond the largest value."""
    high = max([*values, 1e-9])
    step = _nice(high / 5)
    count = math.ceil(high / step)
    ticks = [i * step for i in range(count + 1)]
    return Axis(label, 0.0, ticks[-1], ticks, percent=False)


def span_axis(label: str, values: Sequence[float]) -> Axis:
    """Returns an axis around values of any sign."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    step = _nice((high - low) / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return Axis(label, ticks[0], ticks[-1], ticks, percent=False)


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most `MOST_POINTS` points, both ends among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[i * last // (MOST_POINTS - 1)] for i in range(MOST_POINTS)]


def _nice(step, whole=False):
    """Returns the least of 1, 2, 5, 10, ... that is at least a step."""
    if whole and step <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(step))
    found = next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)
    return round(found) if whole else found


def _place(x, y, point):
    across = (point[0] - x.low) / (x.high - x.low)
    up = (point[1] - y.low) / (y.high - y.low)
    return (
        round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
        round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
    )


def _draw_axes(x, y):
    left, right = _LEFT, _WIDTH - _RIGHT
    top, bottom = _TOP, _HEIGHT - _BOTTOM
    parts = []
    for tick in x.ticks:
        at, _ = _place(x, y, (tick, y.low))
        parts.append(
            f'<line class="grid" x1="{at}" y1="{top}" x2="{at}" '
            f'y2="{bottom}"/><text x="{at}" y="{bottom + 15}" '
            f'text-anchor="middle">{x.show(tick)}</text>'
        )
    for tick in y.ticks:
        _, at = _place(x, y, (x.low, tick))
        parts.append(
            f'<line class="grid" x1="{left}" y1="{at}" x2="{right}" '
            f'y2="{at}"/><text x="{left - 6}" y="{at + 4}" '
            f'text-anchor="end">{y.show(tick)}</text>'
        )
    middle = (left + right) / 2, (top + bottom) / 2
    return "".join(parts) + (
        f'<text x="{middle[0]}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{page.escape(x.label)}</text>"
        f'<text transform="translate(12 {middle[1]}) rotate(-90)" '
        f'text-anchor="middle">{page.escape(y.label)}</text>'
    )


def _draw_series(number, series, x, y):
    places = [_place(x, y, point) for point in series.points]
    # One point is no line, and would not be seen.
    sizes = series.sizes or ([3] * len(places) if len(places) <= 40 else [])
    dots = "".join(
        f'<circle cx="{px}" cy="{py}" r="{size:.1f}"/>'
        for (px, py), size in zip(places, sizes, strict=False)
    )
    path = " L".join(f"{px} {py}" for px, py in places)
    drawn = f'<path d="M{path}"/>' if series.line else ""
    return f'<g class="s{number}">{drawn}{dots}</g>'
