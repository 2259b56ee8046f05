import pytest

from transfer.config import published
from transfer.report import results, table5

ROW = {
    "task": "cifar10",
    "model": "efficientnet_lite0",
    "recipe": "gpipe",
    "metric": "top1",
    "score": 0.95,
    "test_images": 10_000,
    "parameters": 3_400_000,
    "complete": True,
    "published": 0.989,
}


def _compare(*changes, half=published.BEST_PUBLIC):
    rows = [{**ROW, **change} for change in changes]
    return table5.compare(results.summarize(rows), half)


def test_a_line_sets_ours_beside_the_papers_and_its_peers():
    (line,) = _compare({})
    assert line["published_model"] == "efficientnet_b0"
    # 95.0 - 98.1, and NASNet-A's 85M over 3.4M.
    assert line["delta"] == pytest.approx(-0.031)
    assert line["peer"] == "NASNet-A"
    assert line["ratio"] == pytest.approx(25)
    assert line["published_ratio"] == 21
    assert (line["low"], line["high"]) == pytest.approx((0.9456, 0.9541), 1e-3)


def test_the_other_half_has_another_model_and_peer():
    (line,) = _compare({}, half=published.BEST_REPORTED)
    assert line["delta"] == pytest.approx(-0.039)
    assert line["ratio"] == pytest.approx(556 / 3.4)


def test_lines_stand_in_the_papers_order_and_strangers_are_left_out():
    tasks = ["food101", "digits", "cars196", "cifar100", "cifar10"]
    lines = _compare(*({"task": task} for task in tasks))
    order = ["cifar10", "cifar100", "cars196", "food101"]
    assert [line["task"] for line in lines] == order


def test_conditions_go_with_the_line():
    (line,) = _compare({"complete": False, "evaluated_on": "validation"})
    assert line["conditions"] == (
        "subset: not the paper's images; on validation images"
    )


def test_without_parameters_there_is_no_ratio():
    (line,) = _compare({"parameters": None})
    assert line["parameters"] is None and line["ratio"] is None
    assert table5.average_ratio([line]) == (None, 0)
    # The paper prints no parameters for DAT.
    (line,) = _compare({"task": "cars196"}, half=published.BEST_REPORTED)
    assert line["ratio"] is None


def test_the_mean_ratio_is_geometric_over_the_best_run_of_each_set():
    lines = _compare(
        {"score": 0.95, "parameters": 4_250_000},  # 85 / 4.25 = 20
        {"score": 0.90, "parameters": 1_000_000, "model": "efficientnet_b0"},
        {"task": "food101", "parameters": 8_200_000},  # 41 / 8.2 = 5
    )
    assert len(lines) == 3
    mean, count = table5.average_ratio(lines)
    # The root of 20 x 5.
    assert (mean, count) == (pytest.approx(10), 2)


# The last line of Table 5.
@pytest.mark.parametrize(
    "half,mean", [(published.BEST_PUBLIC, 4.7), (published.BEST_REPORTED, 9.6)]
)
def test_the_papers_own_mean_is_as_printed(half, mean):
    assert round(table5.average_published_ratio(half), 1) == mean
