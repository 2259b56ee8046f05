import json
import os
import socket
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import paths
import train_cases
from efficientnet_tf.training import losses, trainer

TWO = {"cpus": 2, "strategy": "mirrored"}

# Arguments of `train_cases.train`, which runs in a process of its own.
CASES = {
    "one": {"evaluate": True},
    "one_compiled": {"xla": True},
    "one_accumulating": {"accumulation_steps": 2},
    "two_synchronized": TWO | {"statistics": "synchronized", "evaluate": True},
    "two": TWO,
    "two_compiled": TWO | {"xla": True},
    "two_random": TWO | {"dropout": 0.2, "evaluate": True},
    "two_float16": TWO | {"dtype": "mixed_float16", "initial_scale": 2.0**23},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The arrays of each case and of two workers, each trained only once."""
    folder = tmp_path_factory.mktemp("cases")
    cases = CASES | {
        f"worker{index}": {
            "strategy": "multi_worker",
            "dropout": 0.2,
            "evaluate": True,
            # More than one: that does not change what comes out.
            "steps_per_execution": train_cases.STEPS,
            "environment": {"TF_CONFIG": config},
        }
        for index, config in enumerate(cluster_configs(2))
    }
    (folder / "cases.json").write_text(json.dumps(cases))
    subprocess.run(
        [sys.executable, train_cases.__file__, folder / "cases.json", folder],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        check=True,
        capture_output=True,
    )
    for path in folder.glob("*.txt"):
        raise RuntimeError(f"{path.stem}: {path.read_text()}")
    return {name: dict(np.load(folder / f"{name}.npz")) for name in cases}


def cluster_configs(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    workers = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]


def difference(left, right, *kinds):
    """The largest difference between arrays of equal names and these kinds."""
    names = [k for k in left if k in right and k.split("/")[0] in kinds]
    assert {name.split("/")[0] for name in names} == set(kinds)
    return max(
        np.abs(left[name].astype("float64") - right[name]).max()
        for name in names
    )


TRAINED = ("weight", "statistic", "ema", "log")


def test_two_replicas_equal_one_with_synchronized_statistics(results):
    one, two = results["one"], results["two_synchronized"]
    assert difference(one, two, *TRAINED, "score") < 1e-5
    # The weights do move, so equality says something.
    assert difference(one, results["two"], *TRAINED) > 1e-3
    start = train_cases.build(dropout=0.0, dtype="float32")
    kernel = start.get_layer("predictions").kernel
    assert np.abs(kernel - one[f"weight/0/{kernel.path}"]).max() > 1e-2


def test_two_worker_processes_equal_two_local_replicas_bit_for_bit(results):
    two = results["two_random"]
    for index in range(2):
        worker = results[f"worker{index}"]
        for kind in ("ema", "log", "score", "iterations"):
            assert difference(two, worker, kind) == 0, kind
        # A worker has one copy of each variable.
        for kind in ("weight", "statistic", "seed"):
            assert difference(two, worker, kind) == 0, kind
    assert difference(two, results["two"], "weight") > 1e-4


@pytest.mark.parametrize("replicas", ["one", "two"])
def test_compiled_steps_equal_those_that_are_not(results, replicas):
    plain, compiled = results[replicas], results[f"{replicas}_compiled"]
    assert difference(plain, compiled, *TRAINED) < 1e-4


def test_parts_of_a_batch_one_by_one_equal_replicas_side_by_side(results):
    parts, replicas = results["one_accumulating"], results["two"]
    # Both normalize halves of the batch.
    assert difference(parts, replicas, "weight", "ema", "log") < 1e-5


def test_all_replicas_hold_equal_values(results):
    for name in CASES:
        arrays = results[name]
        copies = [key for key in arrays if key.split("/")[1:2] == ["1"]]
        assert bool(copies) == name.startswith("two")
        for key in copies:
            first = arrays[key.replace("/1/", "/0/", 1)]
            np.testing.assert_array_equal(arrays[key], first, err_msg=key)


def test_the_statistics_are_the_mean_of_the_replicas(results):
    """Means are linear, so the mean of two halves is that of the batch."""
    one, two = results["one"], results["two"]
    names = [k for k in one if k.endswith("stem_bn/moving_mean")]
    assert len(names) == 1
    for name in names:
        np.testing.assert_allclose(two[name], one[name], atol=1e-4)


def test_the_average_is_updated_after_each_step_with_its_number(results):
    for name, arrays in results.items():
        if name != "two_float16":
            assert arrays["ema_steps"] == 12345, name
            assert arrays["iterations"] == 5, name


def test_float16_halves_the_loss_scale_until_nothing_overflows(results):
    arrays = results["two_float16"]
    skipped = 5 - arrays["iterations"]
    assert 0 < skipped < 5
    assert arrays["scale"] == 2.0 ** (23 - skipped)
    # Those steps do not count, and the norm is not that of the scaled loss.
    norm = results["two"]["log/gradient_norm"]
    np.testing.assert_allclose(arrays["log/gradient_norm"], norm, rtol=0.5)


def test_padding_does_not_count_in_evaluation(results):
    """Five images and three of weight 0, on one replica and on two."""
    images, labels = train_cases.make_data(
        train_cases.BATCH * train_cases.STEPS
    )
    network = train_cases.build(dropout=0.0, dtype="float32")
    arrays = results["two_synchronized"]
    for variable in network.variables:
        for kind in ("weight", "statistic"):
            value = arrays.get(f"{kind}/0/{variable.path}")
            if value is not None:
                variable.assign(value)
    predictions = network(images[:5]).numpy()
    smooth = labels[:5] * 0.9 + 0.1 / train_cases.CLASSES
    expected = -(smooth * np.log(predictions)).sum(axis=1).mean()
    np.testing.assert_allclose(
        arrays["score/cross_entropy"], expected, rtol=1e-5
    )
    np.testing.assert_allclose(arrays["score/loss"], expected, rtol=1e-5)


def make_trainer(network, **options):
    trained = trainer.Trainer(network.inputs, network.outputs, **options)
    trained.compile(
        keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy()
    )
    return trained


@pytest.fixture
def network():
    return train_cases.build(dropout=0.0, dtype="float32")


@pytest.fixture(scope="module")
def batch():
    return train_cases.make_data(train_cases.BATCH)


def test_the_loss_and_its_parts_equal_those_by_hand(network, batch):
    images, labels = batch
    teacher = train_cases.build(dropout=0.0, dtype="float32")
    kernel = teacher.get_layer("predictions").kernel
    kernel.assign(keras.ops.flip(kernel) * 3)
    before = keras.models.clone_model(network)
    before.set_weights(network.get_weights())
    logs = make_trainer(
        network,
        weight_decay=0.01,
        teacher=teacher,
        distill_temperature=3.0,
        distill_weight=0.7,
    ).train_on_batch(images, labels, return_dict=True)

    decayed = [v for v in before.trainable_variables if "_bn/" not in v.path]
    with tf.GradientTape() as tape:
        y_pred = before(images, training=True)
        parts = {
            "cross_entropy": keras.ops.mean(
                -keras.ops.sum(labels * keras.ops.log(y_pred), axis=1)
            ),
            "l2": 0.005 * sum(keras.ops.sum(v**2) for v in decayed),
            "distillation": losses.distillation_loss(
                teacher(images), y_pred, temperature=3.0
            ),
        }
        loss = (
            0.3 * parts["cross_entropy"]
            + parts["l2"]
            + 0.7 * parts["distillation"]
        )
    gradients = tape.gradient(loss, before.trainable_variables)
    norm = np.sqrt(sum(np.sum(g.numpy() ** 2) for g in gradients))
    expected = parts | {"loss": loss, "gradient_norm": norm}
    assert set(logs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5, err_msg=name)
    for after, start, gradient in zip(
        network.trainable_variables,
        before.trainable_variables,
        gradients,
        strict=True,
    ):
        np.testing.assert_allclose(
            after, start - 0.1 * gradient, atol=1e-6, err_msg=after.path
        )


def test_evaluation_shows_no_metrics_of_training(network, batch):
    trained = make_trainer(network, weight_decay=0.01)
    history = trained.fit(
        *batch, batch_size=8, validation_data=batch, verbose=0
    ).history
    both = ["cross_entropy", "loss"]
    assert set(history) == {
        *both,
        *(f"val_{name}" for name in both),
        "l2",
        "gradient_norm",
    }
    assert set(trained.evaluate(*batch, verbose=0, return_dict=True)) == set(
        both
    )


def test_it_is_the_network_to_everybody_else(network, batch, tmp_path):
    trained = make_trainer(
        network,
        weight_decay=0.01,
        teacher=train_cases.build(dropout=0.0, dtype="float32"),
        ema=train_cases.Average(network.trainable_variables),
    )
    trained.train_on_batch(*batch)
    assert trained.get_layer("stem_bn") is network.get_layer("stem_bn")
    names = [[v.path for v in m.variables] for m in (trained, network)]
    assert names[0] == names[1]

    trained.save_weights(tmp_path / "trainer.weights.h5")
    trained.save(tmp_path / "model.keras")
    other = train_cases.build(dropout=0.0, dtype="float32")
    other.load_weights(tmp_path / "trainer.weights.h5")
    other.save_weights(tmp_path / "plain.weights.h5")
    again = trainer.Trainer(other.inputs, other.outputs)
    again.load_weights(tmp_path / "plain.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not isinstance(loaded, trainer.Trainer)
    expected = trained.predict(batch[0], verbose=0)
    for other in (network, again, loaded):
        np.testing.assert_array_equal(
            other.predict(batch[0], verbose=0), expected
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distill_temperature": 0.0}, "distill_temperature=0.0"),
        ({"distill_weight": 1.5}, "distill_weight=1.5"),
        ({"accumulation_steps": 0}, "accumulation_steps=0"),
    ],
)
def test_nonsense_is_refused_at_once(network, options, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(network, **options)


def test_a_batch_that_does_not_divide_into_parts_is_refused(network, batch):
    with pytest.raises(ValueError, match="8 images .* accumulation_steps=3"):
        make_trainer(network, accumulation_steps=3).train_on_batch(*batch)


def test_accumulation_by_the_optimizer_is_refused(network, batch):
    trained = make_trainer(network)
    trained.compile(
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "mse"
    )
    with pytest.raises(ValueError, match="accumulation_steps to the Trainer"):
        trained.train_on_batch(*batch)


JAX_PROGRAM = textwrap.dedent(
    """
    import dataclasses, json, sys

    class NotInstalled:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "tensorflow":
                raise ModuleNotFoundError(f"No module named {name!r}")

    sys.meta_path.insert(0, NotInstalled())

    import keras
    import numpy as np
    from efficientnet_tf.training import trainer

    folder = sys.argv[1]
    teacher = keras.saving.load_model(f"{folder}/teacher.keras")
    network = keras.saving.load_model(f"{folder}/student.keras")
    trained = trainer.Trainer(
        network.inputs, network.outputs, weight_decay=0.01, teacher=teacher
    )
    trained.compile(
        keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy()
    )
    data = np.load(f"{folder}/data.npz")
    logs = trained.train_on_batch(
        data["images"], data["labels"], return_dict=True
    )
    logs["after"] = trained.predict(data["images"], verbose=0).tolist()
    print(json.dumps({k: np.asarray(v).tolist() for k, v in logs.items()}))
    try:
        trainer.Trainer(network.inputs, network.outputs, ema=object())
    except ValueError as error:
        assert "KERAS_BACKEND=tensorflow" in str(error)
    """
)


def test_jax_takes_the_same_step_without_tensorflow(network, batch, tmp_path):
    pytest.importorskip("jax")
    images, labels = batch
    teacher = train_cases.build(dropout=0.0, dtype="float32")
    teacher.save(tmp_path / "teacher.keras")
    network.save(tmp_path / "student.keras")
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    output = subprocess.run(
        [sys.executable, "-c", JAX_PROGRAM, tmp_path],
        cwd=paths.ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    theirs = json.loads(output.stdout.splitlines()[-1])
    trained = make_trainer(network, weight_decay=0.01, teacher=teacher)
    ours = trained.train_on_batch(images, labels, return_dict=True)
    ours["after"] = trained.predict(images, verbose=0)
    assert set(ours) - set(theirs) == {"gradient_norm"}
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5, err_msg=name)
