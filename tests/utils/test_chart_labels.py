"""Labels of charts: none overlaps another, is cut, or stands on a dot."""

import itertools

import numpy as np
import pytest

from efficientnet_tf.measure import choose_report, cost_charts
from efficientnet_tf.utils import chart_labels, figures

pytest.importorskip("matplotlib")


def spread(count, deviation, seed=0):
    """Returns points, all but two of them near the middle."""
    draw = np.random.default_rng(seed).normal(0, deviation, (count, 2))
    names = [f"network {i}" for i in range(count)]
    middle = [(n, *xy, "k") for n, xy in zip(names, draw, strict=True)]
    return [*middle, ("far", 3, 3, "k"), ("low", -3, -3, "k")]


def check(axes, written):
    """Raises AssertionError for what a reader would see overlap or cut."""
    axes.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in written]
    for (a, box), (b, other) in itertools.combinations(
        zip(written, boxes, strict=True), 2
    ):
        assert not box.overlaps(other), (a.get_text(), b.get_text())
    frame = axes.get_window_extent()
    for text, box in zip(written, boxes, strict=True):
        for corner in box.corners():
            assert frame.contains(*corner), text.get_text()
        for line in axes.lines:
            path = line.get_transform().transform_path(line.get_path())
            if line.get_marker() not in ("None", ""):
                hit = [box.contains(*place) for place in path.vertices]
                assert not any(hit), text.get_text()
            if line.get_linestyle() != "None":
                assert not path.intersects_bbox(box, filled=False), (
                    text.get_text()
                )


@pytest.mark.parametrize(
    ("points", "least"),
    [
        (spread(1, 1), 3),
        (spread(30, 1), 30),
        (spread(14, 0.1), 12),
        (spread(60, 0.3), 20),
        ([("same place", 1, 1, "k")] * 5, 3),
        ([("a name as long as the chart is wide " * 4, 1, 1, "k")], 0),
    ],
)
def test_no_label_overlaps_and_none_is_cut(points, least):
    drawing, (axes,) = figures.make_figure(1, 1, (6.4, 4.8))
    axes.plot([p[1] for p in points], [p[2] for p in points], "o", label="dots")
    axes.axvline(0.1, linestyle="--")
    axes.legend(loc="upper left")
    written = chart_labels.label_points(axes, points)
    check(axes, written)
    assert len(written) >= least
    left_out = len(points) - len(written)
    said = f"({left_out} labels left out: no room)" if left_out else ""
    assert axes.get_xlabel() == said


@pytest.fixture
def watched(monkeypatch):
    """What each chart's labels are, at its end."""
    seen = []
    label, rasterize = chart_labels.label_points, figures.rasterize

    def note(axes, points, size=8):
        points = list(points)
        seen.append((axes, label(axes, points, size), len(points)))
        return seen[-1][1]

    def end(drawing):
        image = rasterize(drawing)
        for axes, written, _ in seen:
            check(axes, written)
        return image

    monkeypatch.setattr(chart_labels, "label_points", note)
    monkeypatch.setattr(figures, "rasterize", end)
    return seen


@pytest.mark.parametrize("limits", [(1e7, None, None), (1e9, 79.0, 6.0)])
def test_the_labels_of_a_choice_do_not_overlap(watched, limits, tmp_path):
    from efficientnet_tf.measure import cache, choose

    params, top1, latency = limits

    def measure(part, job, bench):
        return {"latency_p50_ms": job.size / 60}

    limits = choose.Limits(
        max_params=params, min_top1=top1, max_latency_ms=latency
    )
    bench = cache.Bench(cache=str(tmp_path / "cache.jsonl"))
    rows = choose.survey(choose.published_candidates(), limits, bench, measure)
    choose_report.image(rows, limits)
    assert len(watched) == len(limits.costs)
    for axes, written, points in watched:
        assert len(written) == points >= 8
        # Numbers below the axis do not run into each other.
        ticks = [
            box
            for tick in axes.get_xticklabels()
            if (box := tick.get_window_extent()).x0 >= axes.bbox.x0 - 20
            and box.x1 <= axes.bbox.x1 + 20
        ]
        assert len(ticks) >= 2
        for a, b in itertools.pairwise(ticks):
            assert a.x1 < b.x0
        if axes is watched[0][0]:
            chosen = choose.best(rows)["label"]
            assert written[0].get_text() == chosen


def test_the_labels_of_published_networks_do_not_overlap(watched):
    cost_charts.accuracy_image(cost_charts.accuracy_points())
    assert all(len(written) == points > 20 for _, written, points in watched)
