"""Memory of training: a network that cannot fit is refused."""

import pytest

from efficientnet_tf.measure import jobs, memory
from efficientnet_tf.training import memory as training_memory


def test_training_that_cannot_fit_is_not_tried(monkeypatch):
    monkeypatch.setattr(training_memory, "_proc_mb", lambda path, field: 1.0)
    job = jobs.Job("mobilenet_v1", resolution=32)
    with pytest.raises(
        MemoryError, match="needs at least .* machine has 1 MB;"
    ):
        memory.measure_training_memory(job)
