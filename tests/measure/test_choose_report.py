"""The table and the plot show what was measured, chosen and skipped."""

import numpy as np
import pytest

from efficientnet_tf.measure import cache, choose, choose_report

BLUE, RED, GREY = (31, 119, 180), (214, 39, 40), (140, 140, 140)


def measure(part, job, bench):
    """Replaces measuring: milliseconds and megabytes from name and size."""
    value = 10.0 * job.size / 100
    return {"latency_p50_ms": value, "training_memory_mb": 100 * value}


@pytest.fixture
def survey(tmp_path):
    def run(**limits):
        limits = choose.Limits(**limits)
        bench = cache.Bench(cache=str(tmp_path / "cache.jsonl"))
        candidates = choose.published_candidates()
        return choose.survey(candidates, limits, bench, measure), limits

    return run


def test_the_table_has_a_line_for_each_network(survey):
    rows, limits = survey(max_latency_ms=25.0)
    header, *lines = choose_report.as_table(rows, limits).splitlines()
    assert header.split() == [
        *("model", "pixels", "top-1", "params", "multiply-adds", "latency")
    ]
    assert len(lines) == len(rows)
    # B0 is there with larger images, too, after its own.
    found = {line.split()[0]: line.split()[1:] for line in reversed(lines)}
    # As fast as V2-B0 here, which is more accurate and therefore on the front.
    assert found["efficientnet_b0"] == (
        "224 77.1 5.29 M 0.39 G 22.4 ms meets".split()
    )
    assert found["efficientnet_v2_b0"] == (
        "224 78.7 7.14 M 0.72 G 22.4 ms * meets".split()
    )
    skipped = "- skipped no smaller than B2".split()
    assert found["efficientnet_b7"][6:] == skipped


def test_the_plot_has_a_panel_for_each_limit_and_colours_for_verdicts(survey):
    rows, limits = survey(max_latency_ms=27.0)
    image = choose_report.image(rows, limits)
    assert image.dtype == "uint8" and image.shape[-1] == 3
    for colour in (BLUE, RED, GREY):
        assert _count_colour(image, colour) > 30
    both = choose_report.image(*survey(max_latency_ms=27.0, max_params=9e6))
    assert both.shape[1] == 2 * image.shape[1]
    # Nothing meets the limits: no star, and its word is not in the legend.
    rows, limits = survey(max_latency_ms=1.0)
    assert _count_colour(choose_report.image(rows, limits), RED) == 0


def test_nothing_measured_can_still_be_drawn(survey):
    rows, limits = survey(max_latency_ms=1.0, max_params=1e6)
    assert choose_report.image(rows, limits).shape[-1] == 3


def test_the_plot_is_a_png_file(survey, tmp_path):
    path = tmp_path / "new" / "choice.png"
    choose_report.check_output(path)
    choose_report.write_image(path, *survey(max_params=9e6))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="must end in .png"):
        choose_report.check_output(tmp_path / "choice.jpg")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="is a file, not a folder"):
        choose_report.check_output(tmp_path / "file" / "choice.png")


def _count_colour(image, colour):
    return int((np.abs(image.astype(int) - colour).max(-1) < 12).sum())
