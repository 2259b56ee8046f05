"""Costs beside the published ones, as rows and as a table."""

import pytest

from efficientnet_tf.measure import cost_table, jobs
from efficientnet_tf.models import costs, registry


def test_costs_stand_beside_the_published_ones():
    row = cost_table.count_costs(jobs.Job("efficientnet_lite0", batch_size=4))
    assert tuple(row) == cost_table.COLUMNS
    assert row["params_m"] == 4.652008
    assert row["published_params_m"] == 4.7
    assert row["multiply_adds_g"] == pytest.approx(0.385, rel=0.005)
    assert row["published_multiply_adds_g"] == 0.407
    assert row["published_top1"] == 75.1


def test_what_holds_at_one_resolution_is_not_shown_at_another():
    job = jobs.Job("efficientnet_lite0", resolution=64)
    row = cost_table.count_costs(job)
    assert row["resolution"] == 64
    assert row["published_params_m"] == 4.7
    assert row["published_multiply_adds_g"] is row["published_top1"] is None


def test_a_variant_file_is_a_network_as_well(tmp_path):
    path = tmp_path / "network.json"
    path.write_text('{"base": "efficientnet_b0", "width": 0.5}')
    row = cost_table.count_costs(jobs.Job(str(path), resolution=64))
    assert row["resolution"] == 64 and row["published_params_m"] is None
    network = registry.get_variant(path, resolution=64)
    counted = costs.count_costs(network)
    assert row["params_m"] == counted.params / 1e6
    assert row["multiply_adds_g"] == counted.multiply_adds / 1e9


def test_activation_memory_follows_batch_and_precision():
    def memory(**fields):
        job = jobs.Job("mobilenet_v1", resolution=32, **fields)
        return cost_table.count_costs(job)["activation_memory_mb"]

    base = memory()
    assert memory(batch_size=6) == pytest.approx(6 * base)
    assert memory(precision="mixed_bfloat16") == pytest.approx(base / 2)


def test_a_table_leaves_out_what_no_row_has():
    row = dict.fromkeys(cost_table.COLUMNS)
    rows = [
        {**row, "model": "a", "params_m": 1.23456, "note": ""},
        {**row, "model": "longer", "latency_p50_ms": 2.0, "note": ""},
    ]
    lines = cost_table.to_text(rows).splitlines()
    assert lines[0].split() == ["model", "params_m", "latency_p50_ms"]
    assert lines[1].split() == ["a", "1.235", "-"]
    assert lines[2].split() == ["longer", "-", "2"]
