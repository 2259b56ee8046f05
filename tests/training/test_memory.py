"""The memory that training needs is checked before it begins."""

import pytest

from efficientnet_tf.models import costs
from efficientnet_tf.training import memory


def test_memory_is_in_millions_of_bytes(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  250000 kB\n")
    assert memory._proc_mb(status, "VmHWM") == 256.0


def test_a_containers_limit_counts_where_it_is_less(tmp_path, monkeypatch):
    stage = dict.fromkeys(("kernel_size", "strides", "filters", "repeats"), 1)
    stage |= {"name": "stem", "operator": "Conv", "resolution": 1000}
    counts = {"params": 10**6, "multiply_adds": 0, "activations": 10**6}
    cost = costs.Costs((costs.StageCost(**stage, **counts),))
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMIT_FILE", str(limit))
    for text in (None, "max\n", "17000000\n"):
        if text:
            limit.write_text(text)
        memory.check_memory(cost, 1, "float32")  # 12 MB and 4.
    limit.write_text("15000000\n")
    with pytest.raises(MemoryError, match="least 16 MB, .* has 15 MB;"):
        memory.check_memory(cost, 1, "float32")
