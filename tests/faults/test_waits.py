"""Which batch is waited for, and what a run can save meanwhile."""

import time

import pytest
import tensorflow as tf

import line_fit
from efficientnet_tf.data import watched
from efficientnet_tf.training import callbacks, checkpoints, stopping
from efficientnet_tf.utils import addresses, waits


def _numbers(count=6):
    return tf.data.Dataset.range(count).batch(2)


def test_a_watched_data_set_is_the_same_one():
    plain, seen = _numbers(), watched.watch(_numbers(), "why", trains=True)
    assert seen.element_spec == plain.element_spec
    assert len(seen) == len(plain)
    for _ in range(2):  # The second time, anew.
        found = [batch.tolist() for batch in seen.as_numpy_iterator()]
        assert found == [[0, 1], [2, 3], [4, 5]]
    assert waits.pending() == []


def test_a_batch_is_waited_for_until_it_comes():
    found = []

    def look(number):
        found.append([(w.why, w.number) for w in waits.pending()])
        return number

    slow = tf.data.Dataset.range(3).map(
        lambda n: tf.numpy_function(look, [n], "int64")
    )
    list(watched.watch(slow, "why", trains=True))
    assert found == [[("why", 0)], [("why", 1)], [("why", 2)]]


@pytest.mark.parametrize("how", ["left", "broken"])
def test_a_data_set_that_nobody_reads_on_is_not_waited_for(how):
    dataset = _numbers()
    if how == "broken":
        dataset = dataset.map(lambda n: tf.ensure_shape(n[n < 3], [2]))
    iterator = iter(watched.watch(dataset.prefetch(1), "why"))
    next(iterator)
    if how == "broken":
        with pytest.raises(tf.errors.InvalidArgumentError):
            next(iterator)
    del iterator
    assert waits.pending() == []


@pytest.fixture
def saver(tmp_path):
    """A checkpointer after 3 steps of a call of `fit` that began with 8."""
    network = line_fit.compile_line()
    made = callbacks.Checkpointer(
        tmp_path, checkpoints.state_of(network), first_step=8
    )
    made.set_model(network)
    made.set_params({"steps": 10})
    made.on_train_begin()
    made.on_epoch_begin(2)
    for batch in range(3):
        made.on_train_batch_begin(batch)
        made.on_train_batch_end(batch)
    return made


@pytest.mark.parametrize(
    ("number", "in_step", "steps", "said"),
    [
        (3, True, 1, "Saved after step 11."),
        # Read ahead, of a step that is running or while nobody waits.
        (4, True, 1, None),
        (3, False, 1, None),
        # An old one.
        (2, True, 1, None),
        # In the middle of several steps that count as one.
        (4, True, 4, ""),
        (7, True, 4, None),
        # For an evaluation, and before the first step.
        (None, False, 1, ""),
        (0, False, 1, ""),
    ],
)
def test_only_a_state_between_two_steps_is_saved(
    saver, tmp_path, number, in_step, steps, said
):
    if in_step:
        saver.on_train_batch_begin(3)
    saver.model.steps_per_execution = steps
    assert saver.save_waiting(number) == said
    newest = [path.name for path in checkpoints.list_newest(tmp_path)]
    assert newest == (["step_000000011"] if said else [])


def test_a_worker_that_does_not_write_leaves_saving_to_the_other(saver):
    saver.writes = False
    saver.on_train_batch_begin(3)
    assert saver.save_waiting(3) == ""
    assert not checkpoints.list_newest(saver.directory)


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:0", "host:65536", "host:x", "a b:1"]
    + ["http://host:1", "::1:1", "host:1/", "host:\u0661", "host:-1"],
)
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(ValueError, match="must be HOST:PORT, with a port"):
        addresses.check("x", address)


@pytest.mark.parametrize("address", ["a:1", "10.0.0.1:65535", "[::1]:80"])
def test_other_addresses_are_taken(address):
    addresses.check("x", address)


def test_a_taken_port_is_named_and_somebody_there_is_found():
    with addresses.listen(0) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"Port {port} cannot be used: Addr"):
            addresses.listen(port)
        begin = time.monotonic()
        addresses.wait_for(f"localhost:{port}", "somebody")
        assert time.monotonic() - begin < 2
    assert waits.pending() == []


def test_each_step_among_workers_but_the_first_has_a_limit():
    watch = stopping.StepWatch()
    watch.set_model(line_fit.compile_line())
    watch.on_train_begin()
    limits = []
    for batch in range(3):
        watch.on_train_batch_begin(batch)
        limits += [(w.limit, w.code, w.is_input) for w in waits.pending()]
        watch.on_train_batch_end(batch)
    # The step that compiles waits as long as for input.
    assert limits == [(None, 1, False), (30.0, 1, False), (30.0, 1, False)]
    assert waits.pending() == []
    # A checkpoint of 1 GB at 20 MB/s is a reason to wait.
    watch.model.count_params = lambda: 10**9 // 16
    watch.on_train_begin()
    watch.on_train_batch_begin(3)
    assert waits.pending()[0].limit == pytest.approx(50, abs=1)
    watch.on_train_batch_end(3)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_bound_port_is_taken_once_somebody_listens(host):
    try:
        bound = addresses.bind(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with bound:
        url = addresses.to_url(bound)
        port = bound.getsockname()[1]
        assert url == f"http://{f'[{host}]' if ':' in host else host}:{port}"
        bound.listen()
        with pytest.raises(OSError, match=f"Port {port} of {host} cannot be"):
            addresses.bind(host, port)
