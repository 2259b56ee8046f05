"""Jobs: invalid ones are refused, and processes that fail say why."""

import pytest

from efficientnet_tf.measure import cost_table, jobs
from efficientnet_tf.models import published, registry, variants


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "b0"}, "Unknown model 'b0'; did you mean 'efficientnet_b0'"),
        ({"precision": "int8"}, "Unknown precision 'int8'.*mixed_bfloat16"),
        ({"backend": "torch"}, "Unknown backend 'torch'.*tensorflow, jax"),
        ({"resolution": 16}, "resolution=16 must be between 32"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batches": 0}, "batches must be at least 1, got 0"),
        ({"batch_size": "8"}, "batch_size.* must be of type int"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        jobs.Job(**{"model": "efficientnet_b0", **fields})


def test_every_published_variant_can_be_measured():
    assert set(published.VARIANTS) <= set(registry.list_models())
    assert set(variants.VARIANTS) <= set(registry.list_models())


def test_a_process_that_fails_says_why():
    job = jobs.Job("efficientnet_b0")
    with pytest.raises(RuntimeError, match="to_text failed: .*Error"):
        jobs.run_apart(cost_table.to_text, job)
