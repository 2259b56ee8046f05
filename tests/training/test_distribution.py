import json

import keras
import pytest
import tensorflow as tf

from efficientnet_tf.training import distribution
from efficientnet_tf.utils import configs


@pytest.fixture
def restore_policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("precision", configs.PRECISIONS)
def test_precision_is_that_of_the_layers_built_from_now_on(
    precision, restore_policy
):
    distribution.set_precision(precision)
    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    # Weights stay in full precision.
    assert layer.kernel.dtype == "float32"


def test_an_unknown_precision_is_refused_and_changes_nothing(restore_policy):
    before = keras.config.dtype_policy().name
    with pytest.raises(ValueError, match="'float8'; choose one of float32"):
        distribution.set_precision("float8")
    assert keras.config.dtype_policy().name == before


def have_devices(monkeypatch, **counts):
    """Makes TensorFlow list these numbers of physical devices by kind."""
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind: ["device"] * counts.get(kind, 0),
    )


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)


def cluster(workers, index=0, **jobs):
    return json.dumps(
        {
            "cluster": {"worker": workers, **jobs},
            "task": {"type": "worker", "index": index},
        }
    )


@pytest.mark.parametrize(
    ("devices", "expected"),
    [({}, False), ({"GPU": 1}, True), ({"TPU": 1}, True)],
)
def test_xla_is_for_accelerators(monkeypatch, devices, expected):
    have_devices(monkeypatch, **devices)
    assert distribution.use_xla() is expected
    assert distribution.use_xla("on") is True
    assert distribution.use_xla("off") is False


@pytest.mark.parametrize(
    ("batch_norm", "shared"), [("synchronized", 2), ("grouped", 16)]
)
def test_xla_cannot_hold_the_all_reduce_of_several_gpus(
    monkeypatch, batch_norm, shared
):
    have_devices(monkeypatch, GPU=shared)
    assert distribution.use_xla(replicas=shared) is True
    assert distribution.use_xla(replicas=1, batch_norm=batch_norm) is True
    # Grouped statistics of few replicas are local ones.
    few = distribution.use_xla(replicas=2, batch_norm=batch_norm)
    assert few is (batch_norm == "grouped")
    assert not distribution.use_xla(replicas=shared, batch_norm=batch_norm)
    with pytest.raises(ValueError, match=f"{batch_norm} .* {shared} replicas"):
        distribution.use_xla("on", replicas=shared, batch_norm=batch_norm)
    # A TPU's strategy compiles its own all-reduce.
    have_devices(monkeypatch, TPU=8)
    assert distribution.use_xla(replicas=8, batch_norm=batch_norm) is True


def test_a_run_alone_writes_whatever_tf_config_says(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster(["a:1", "b:1"], index=1))
    strategy = distribution.make_strategy("none")
    assert distribution.is_chief(strategy)
    # One process cannot differ from itself.
    distribution.check_same(strategy, 1_234_567, "step")


def test_an_unknown_xla_setting_is_refused():
    with pytest.raises(ValueError, match="'fast'; choose one of auto, on, off"):
        distribution.use_xla("fast")


@pytest.mark.parametrize(
    ("devices", "environment", "chosen"),
    [
        ({}, {}, "none"),
        ({"GPU": 1}, {}, "none"),
        ({"GPU": 2}, {}, "mirrored"),
        ({"GPU": 2}, {"TF_CONFIG": cluster(["a:1", "b:1"])}, "multi_worker"),
        ({}, {"TF_CONFIG": cluster(["a:1"], chief=["b:1"])}, "multi_worker"),
        ({"GPU": 2}, {"TF_CONFIG": cluster(["a:1"])}, "mirrored"),
        ({"TPU": 8}, {}, "tpu"),
        ({}, {"TPU_NAME": "local"}, "tpu"),
    ],
)
def test_auto_takes_what_is_there_and_says_so(
    monkeypatch, caplog, devices, environment, chosen
):
    have_devices(monkeypatch, **devices)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    makers = {
        name: lambda name=name: _Named(name) for name in distribution._MAKERS
    }
    monkeypatch.setattr(distribution, "_MAKERS", makers)
    with caplog.at_level("INFO", logger="absl"):
        assert distribution.make_strategy("auto").name == chosen
    assert f"Strategy {chosen} (auto): replicas 3." in caplog.text


class _Named:
    num_replicas_in_sync = 3

    def __init__(self, name):
        self.name = name


def test_every_strategy_has_a_maker():
    assert set(distribution.STRATEGIES) == {"auto", *distribution._MAKERS}


def test_none_is_one_replica_and_mirrored_all_of_a_kind():
    strategy = distribution.make_strategy("none")
    assert strategy.num_replicas_in_sync == 1
    assert not tf.distribute.has_strategy()
    # Two logical CPUs, in a process of their own, are in test_trainer.py.
    devices = tf.config.list_logical_devices("GPU") or ["CPU"]
    strategy = distribution.make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == len(devices)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="'magic'; choose one of auto, none"):
        distribution.make_strategy("magic")


def test_multi_worker_without_tf_config_is_refused():
    with pytest.raises(ValueError, match="needs the environment .* TF_CONFIG"):
        distribution.make_strategy("multi_worker")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        cluster(["a:1", "b:1"], index=2),
    ],
)
@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_a_tf_config_that_makes_no_sense_is_refused(monkeypatch, text, name):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG=.* must be JSON"):
        distribution.make_strategy(name)


def test_without_a_tpu_that_is_said_in_one_line(monkeypatch):
    have_devices(monkeypatch)
    with pytest.raises(RuntimeError, match="There is no TPU here") as caught:
        distribution.make_strategy("tpu")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("", ["resolve local", "initialize", "strategy"]),
        ("local", ["resolve local", "initialize", "strategy"]),
        ("pod-1", ["resolve pod-1", "connect", "initialize", "strategy"]),
    ],
)
def test_a_tpu_is_resolved_connected_and_initialized(monkeypatch, name, steps):
    """With stand-ins, since the tests do not run on a TPU."""
    taken = []

    def stand_in(module, attribute, step, result=None):
        def call(*args, tpu=None):
            assert args == (() if tpu else ("resolver",))
            taken.append(f"{step} {tpu}" if tpu else step)
            return result

        monkeypatch.setattr(module, attribute, call)

    have_devices(monkeypatch, TPU=0 if name else 8)
    monkeypatch.setenv("TPU_NAME", name)
    resolvers = tf.distribute.cluster_resolver
    stand_in(resolvers, "TPUClusterResolver", "resolve", "resolver")
    stand_in(tf.config, "experimental_connect_to_cluster", "connect")
    stand_in(tf.tpu.experimental, "initialize_tpu_system", "initialize")
    stand_in(tf.distribute, "TPUStrategy", "strategy", _Named("tpu"))
    assert distribution.make_strategy("tpu").name == "tpu"
    assert taken == steps


def test_the_global_batch_is_shared_out_equally():
    assert distribution.replica_batch_size(256, 8) == 32
    with pytest.raises(ValueError, match="256 images .* by 3 replicas"):
        distribution.replica_batch_size(256, 3)
