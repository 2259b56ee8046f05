"""Charts show the tables' points, and leave out what was not measured."""

import numpy as np

from efficientnet_tf.measure import cost_charts, cost_table
from efficientnet_tf.models import published


def test_points_are_the_tables_with_our_costs():
    points = cost_charts.accuracy_points()
    families = (
        published.EFFICIENTNETS,
        published.LITES,
        published.V2S,
        published.PEERS,
    )
    assert [len(rows) for rows in points.values()] == list(map(len, families))
    by_name = {row[0]: row for rows in points.values() for row in rows}
    # Counted parameters and multiply-adds, published top-1 of Table 2.
    label, params, multiply_adds, top1 = by_name["B7"]
    assert (round(params, 2), round(multiply_adds, 2)) == (66.35, 37.75)
    assert top1 == 84.3
    assert by_name["GPipe"] == ("GPipe", 557.0, None, 84.3)


def test_the_chart_shows_both_costs_and_each_family_in_its_colour():
    points = cost_charts.accuracy_points()
    image = cost_charts.accuracy_image(points)
    assert image.dtype == "uint8" and image.shape[-1] == 3
    without = cost_charts.accuracy_image({**points, "EfficientNet": []})
    # Matplotlib's tab:red, left and right of the middle.
    middle = image.shape[1] // 2
    for half in (slice(None, middle), slice(middle, None)):
        red = _count_colour(image[:, half], (214, 39, 40))
        assert red > 300
    # Its line in the legend stays.
    assert _count_colour(without, (214, 39, 40)) < 100


def test_rows_without_a_measurement_are_left_out():
    row = dict.fromkeys(cost_table.COLUMNS)
    row.update(model="a", multiply_adds_g=1.0, latency_p50_ms=5.0)
    full = cost_charts.measured_image([row])
    empty = cost_charts.measured_image([dict.fromkeys(cost_table.COLUMNS)])
    assert full.shape == empty.shape
    assert _count_colour(full, (31, 119, 180)) > 10
    assert _count_colour(empty, (31, 119, 180)) == 0


def _count_colour(image, colour):
    return int((np.abs(image.astype(int) - colour).max(-1) < 12).sum())
