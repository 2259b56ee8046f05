import pytest

from efficientnet_tf.search import compound_study, directions, equal_costs


def row(direction, multiply_adds, step_ms, accuracy, base="b"):
    return {
        "base": base,
        "direction": direction,
        "growth": 4.0,
        "multiply_adds": multiply_adds * 1e6,
        "step_ms": step_ms,
        "accuracy": accuracy,
    }


ROWS = [
    row("base", 1, 10.0, 0.5),
    row("compound", 4, 40.0, 0.7),
    row("weighted", 4, 20.0, 0.68),
    row("weighted", 8, 80.0, 0.76),
    row("depth", 4, 90.0, 0.1),
    row("base", 1, 10.0, 0.9, base="other"),
]


def test_accuracy_is_read_off_between_the_networks_around_a_cost():
    (found,) = equal_costs.compare(ROWS, "multiply_adds")
    assert (found["uniform"], found["weighted"]) == (0.7, 0.68)
    # 40 ms is half of the way from 20 to 80, over the logarithm.
    (found,) = equal_costs.compare(ROWS, "step_ms")
    assert found["weighted"] == pytest.approx((0.68 + 0.76) / 2)
    text = equal_costs.equal_table(ROWS)
    assert "| 4.0 | 0.7000 | 0.6800 | -0.0200 |" in text
    assert "| 40.0 | 0.7000 | 0.7200 | +0.0200 |" in text


@pytest.mark.parametrize("step_ms", [9.0, 81.0])
def test_nothing_is_read_off_beyond_the_networks(step_ms):
    rows = [*ROWS, row("compound", 4, step_ms, 0.8)]
    assert equal_costs.compare(rows, "step_ms")[-1]["weighted"] is None
    text = equal_costs.equal_table(rows)
    assert f"| {step_ms:.1f} | 0.8000 | – | – |" in text


def test_networks_without_a_score_or_a_time_are_left_out():
    rows = [dict(r, step_ms=None) for r in ROWS]
    assert equal_costs.compare(rows, "step_ms") == []
    assert "training step" not in equal_costs.equal_table(rows)
    rows = [dict(r, accuracy=None) for r in ROWS]
    assert equal_costs.equal_table(rows) == ""
    plain = [r for r in ROWS if r["direction"] != "weighted"]
    assert equal_costs.equal_table(plain) == ""


def test_the_directions_are_the_studys():
    names = equal_costs.UNIFORM, equal_costs.WEIGHTED
    assert set(names) < set(directions.DIRECTIONS)
    assert equal_costs.BASE == compound_study.BASE
