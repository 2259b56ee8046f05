import numpy as np
import pytest

from efficientnet_tf.measure import jobs, step_time
from efficientnet_tf.models import registry


def test_the_median_step_is_measured_after_the_warm_up(
    tmp_path, monkeypatch, tiny_row
):
    path = tmp_path / "tiny.json"
    registry.write_file(path, tiny_row)
    # The compiling first step and one of the others take long.
    clock = iter(np.cumsum([0, 9, 0, 9, 0, 0.25, 0, 4.0, 0, 0.25]).tolist())
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: next(clock))
    job = jobs.Job(str(path), batch_size=2, warmup_batches=2, batches=3)
    row = step_time.measure_step_time(job)
    assert row["step_ms"] == pytest.approx(250)
    assert next(clock, None) is None and row["device"]
