"""A supernet: its children as slices, its training, its folder, its scores."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import paths
import samples
import train_cases
from efficientnet_tf.models import builder, registry, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import (
    evaluators,
    flow,
    measurements,
    objectives,
    plans,
    runs,
    spaces,
    storages,
)
from efficientnet_tf.search.architect.supernet import (
    elastic,
    sandwich,
    scoring,
    slices,
    training,
)
from efficientnet_tf.utils import run_folder

CLASSES = 4


def make_space(stages, **decided):
    """A small space; decided are {field0: values} of the stage 0 and so on."""
    template = dataclasses.replace(
        variants.VARIANTS["efficientnet_b0"],
        width=0.5,
        resolution=32,
        stages=stages,
        head_filters=64,
    )
    decisions = [
        spaces.Decision(int(name[-1]), name[:-1], values)
        for name, values in decided.items()
    ]
    return spaces.Space(template, tuple(decisions))


Stage = variants.Stage
SPACES = {
    "all that is sliced": make_space(
        (Stage("mbconv", 3, 1, 24, 1, 1), Stage("mbconv", 3, 1, 32, 4, 2)),
        filters0=(16, 32),
        se_ratio0=(0.0, 0.25),
        kernel_size1=(3, 5, 7),
        expand_ratio1=(1, 3, 4),
        filters1=(32, 48),
        repeats1=(1, 2),
        se_ratio1=(0.1, 0.3),
    ),
    # Of which a child has a shortcut that the largest one lacks.
    "shortcuts": make_space(
        (Stage("mbconv", 5, 1, 32, 2, 1), Stage("mbconv", 3, 2, 32, 1, 1)),
        filters0=(32, 64),
        filters1=(32, 48, 96),
        expand_ratio1=(1, 2),
    ),
    "fused": make_space(
        (
            Stage("fused_mbconv", 3, 1, 16, 1, 1, 0.0),
            Stage("fused_mbconv", 3, 1, 32, 4, 2, 0.0),
        ),
        kernel_size0=(3, 5),
        filters0=(16, 32),
        kernel_size1=(3, 5),
        expand_ratio1=(2, 4),
        se_ratio1=(0.0, 0.25),
        repeats1=(1, 3),
    ),
}


def make_largest(space):
    """The largest network of a space, with weights that are no zeros."""
    largest = space.decode(slices.find_largest(space))
    network = builder.build(largest, classes=CLASSES)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        noise = rng.normal(0, 0.1, variable.shape)
        variable.assign_add(noise.astype("float32"))
    return network


def choose(space, number):
    rng = np.random.default_rng(2)
    ends = [slices.find_smallest(space), slices.find_largest(space)]
    return ends + [spaces.sample(space.sizes, rng) for _ in range(number)]


@pytest.mark.parametrize("name", SPACES)
def test_a_child_taken_out_equals_its_slice(name):
    space = SPACES[name]
    network = make_largest(space)
    layers = {layer.name: layer for layer in network.layers}
    children = elastic.Children(space)
    images = samples.make_images(16)
    for genotype in choose(space, 1):
        inside = elastic.call(layers, children, images, np.array(genotype))
        child = slices.take_out(network, space.decode(genotype), CLASSES)
        scoring.calibrate(child, [images])
        outside = child(images, training=False)
        np.testing.assert_allclose(inside, outside, atol=1e-5)
        # Outputs tell images apart, so equality says something.
        assert np.ptp(outside, axis=0).max() > 0.01


def test_the_weights_that_a_child_lacks_have_no_gradient():
    space = SPACES["all that is sliced"]
    network = make_largest(space)
    layers = {layer.name: layer for layer in network.layers}
    children = elastic.Children(space)
    images = samples.make_images(8)
    genotype = (0, 1, 1, 1, 0, 0, 0)
    child = slices.take_out(network, space.decode(genotype), CLASSES)
    before = [np.array(w) for w in network.non_trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        inside = elastic.call(layers, children, images, np.array(genotype))
        outside = child(images, training=True)
        losses = [tf.reduce_sum(y[:, 0] ** 2) for y in (inside, outside)]
    whole = {
        v.path: np.array(g)
        for v, g in zip(
            network.trainable_variables,
            tape.gradient(losses[0], network.trainable_variables),
            strict=True,
        )
    }
    part = tape.gradient(losses[1], child.trainable_variables)
    left = sum(np.abs(g).sum() for g in whole.values())
    for variable, gradient in zip(child.trainable_variables, part, strict=True):
        own = slices.slice_weight(
            tf.constant(whole[variable.path]), tuple(variable.shape)
        )
        np.testing.assert_allclose(own, gradient, atol=1e-5)
        left -= np.abs(own).sum()
    assert abs(left) < 1e-3
    # The largest one's averages are not moved by its children.
    for weight, value in zip(
        network.non_trainable_variables, before, strict=True
    ):
        np.testing.assert_array_equal(weight, value)


def test_calibration_is_the_mean_of_whole_batches():
    network = make_largest(SPACES["fused"])
    batches = np.split(samples.make_images(20), [8, 16])
    means = []
    for batch in batches[:2]:
        scoring.calibrate(network, [batch])
        means.append(np.array(network.get_layer("stem_bn").moving_mean))
    scoring.calibrate(network, batches)
    np.testing.assert_allclose(
        network.get_layer("stem_bn").moving_mean, np.mean(means, 0), rtol=1e-4
    )
    assert network.get_layer("stem_bn").momentum == 0.99


def test_random_children_are_all_as_likely_and_repeat_by_their_seed():
    children = elastic.Children(SPACES["all that is sliced"])
    drawn = np.array([children.sample((5, step)) for step in range(100)])
    for place, size in enumerate(children.sizes):
        counts = np.bincount(drawn[:, place], minlength=size)
        assert len(counts) == size
        assert counts.min() > 0.5 * 100 / size
    np.testing.assert_array_equal(children.sample((5, 7)), drawn[7])


REFUSED = {
    "kinds of block": (
        {"block0": ("mbconv", "fused_mbconv")},
        "stage 1 cannot share weights: it decides block",
    ),
    "strides": ({"strides1": (1, 2)}, "stage 2 .*: it decides strides"),
    "kernels without a common centre": (
        {"kernel_size1": (3, 4)},
        "stage 2 .*: kernels \\(3, 4\\) have no common centre",
    ),
    "kernels that strides step over": (
        {"kernel_size1": (1, 3)},
        "stage 2 .*: it strides by 2, past kernels of 1",
    ),
    "a fused block without and with expansion": (
        {"expand_ratio2": (1, 4)},
        "stage 3 .*: expand_ratio \\(1, 4\\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_space_that_shares_no_weights_is_refused(name):
    decided, message = REFUSED[name]
    space = make_space(
        (
            Stage("mbconv", 3, 1, 16, 1, 1),
            Stage("mbconv", 3, 1, 32, 4, 2),
            Stage("fused_mbconv", 3, 1, 32, 4, 1, 0.0),
        ),
        **decided,
    )
    with pytest.raises(ValueError, match=message) as caught:
        training.Supernet(space, trials.Budget("folder:/nowhere", seeds=1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("base", ["resnet50", "vit"])
def test_networks_without_such_blocks_are_refused(base):
    space = spaces.from_fields(
        {"base": base, "every_stage": {"repeats": [1, 2]}}
    )
    with pytest.raises(ValueError, match="supernet has|cannot share weights"):
        slices.check(space)


def test_a_step_learns_from_labels_and_from_the_largest():
    space = SPACES["fused"]
    network = make_largest(space)
    trained = sandwich.Trainer(
        network.input, network.output, space=space, seed=3
    )
    trained.compile("sgd", "categorical_crossentropy", run_eagerly=True)
    for layer in trained.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    images, labels = samples.make_images(8), np.eye(4, dtype="f4")[[0, 1] * 4]
    found, _, y_pred = trained.differentiate(images, labels, None)
    layers = {layer.name: layer for layer in network.layers}
    children = elastic.Children(space)
    chosen = [children.smallest, *(children.sample((3, i)) for i in (0, 1))]
    with tf.GradientTape() as tape:
        own = network(images, training=True)
        loss = keras.losses.categorical_crossentropy(labels, own)
        for genotype in chosen:
            child = elastic.call(layers, children, images, genotype)
            loss += tf.reduce_sum(
                y_pred * (tf.math.log(y_pred) - tf.math.log(child)), axis=-1
            )
        loss = tf.reduce_mean(loss)
    expected = tape.gradient(loss, network.trainable_variables)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3)


@pytest.fixture
def plan(tmp_path):
    """A search by a supernet, with a small folder of images."""
    for split, count in (("train", 16), ("validation", 8)):
        counts = {"a": count, "b": count + 1}
        samples.make_folder(tmp_path / "images" / split, counts, 32)
    space = make_space(
        (Stage("mbconv", 3, 1, 16, 1, 2),), filters0=(16, 32), repeats0=(1, 2)
    )
    settings = ("epochs=1", "warmup_epochs=0", "batch_size=8")
    budget = trials.Budget(
        f"folder:{tmp_path}/images", settings=settings, seeds=1
    )
    return plans.Plan(
        space,
        space.sizes,
        objectives.Objective(1e6),
        "random",
        evaluators.SUPERNET,
        budget,
        trials=4,
    )


def test_known_networks_outside_the_space_are_left_out(plan):
    scale = {"width": 0.5, "depth": 1.0, "resolution": 32}
    assert flow.list_peers(plan, ["efficientnet_b0"], scale) == {}


def test_a_known_network_of_the_space_is_a_peer(plan, tmp_path):
    inside = plan.space.decode((0, 0))
    path = tmp_path / "inside.json"
    registry.write_file(path, inside)
    assert plan.space.has(inside)
    scale = {"resolution": inside.resolution}
    peers = flow.list_peers(plan, [str(path)], scale)
    assert list(peers) == [variants.short_name(str(path))]


CHANGES = {
    "values": lambda space: dataclasses.replace(
        space,
        decisions=(
            dataclasses.replace(space.decisions[0], values=(8, 16)),
            *space.decisions[1:],
        ),
    ),
    "fewer decisions": lambda space: dataclasses.replace(
        space, decisions=space.decisions[:1]
    ),
    "template": lambda space: dataclasses.replace(
        space, template=dataclasses.replace(space.template, resolution=48)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_supernet_of_another_space_is_refused_before_any_work(
    name, plan, tmp_path
):
    folder = tmp_path / "supernet"
    run_folder.start_study(evaluators.make_supernet(plan), folder)
    other = dataclasses.replace(
        plan,
        space=CHANGES[name](plan.space),
        supernet=str(folder),
    )
    with pytest.raises(
        ValueError, match="a supernet of another space"
    ) as caught:
        flow.check(other, measurements.find("multiply_adds"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_damaged_plan_of_a_supernet_is_refused(plan, tmp_path):
    own = evaluators.make_supernet(plan)
    for there in (3, {}, {"decisions": 5, "template": [1]}):
        path = tmp_path / run_folder.PLAN_FILE
        path.write_text(json.dumps({"space": there}))
        with pytest.raises(ValueError, match="of another space"):
            training.check_folder(own, tmp_path)


@pytest.mark.slow
def test_a_search_scores_slices_of_one_training(plan, tmp_path):
    workdir = tmp_path / "search"
    flow.check(plan, measurements.find("multiply_adds"))
    plans.start(plan, workdir)
    storage = storages.Files(workdir)
    flow.run(plan, workdir, measurements.of_job("multiply_adds"), storage)
    rows = runs.read_rows(plan, storage)
    assert {row["genotype"] for row in rows} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    trained = run_folder.last_result(workdir / "supernet" / training.RUN)
    assert trained["epochs"] == 1
    found = flow.finish(plan, rows, [], workdir)
    folder = flow.keep_weights(plan, found, workdir)
    network = keras.models.load_model(f"{folder}/{run_folder.MODEL_FILE}")
    assert (
        network.count_params()
        == builder.build(
            plan.space.decode(found["genotype"]), classes=2
        ).count_params()
    )
    assert "supernet, whose slices" in (workdir / "report.html").read_text()


@pytest.mark.slow
def test_two_replicas_train_the_children_of_one(tmp_path):
    both = {"one": {}, "two": {"cpus": 2, "strategy": "mirrored"}}
    for settings in both.values():
        settings |= {"supernet": True, "statistics": "synchronized"}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(both))
    subprocess.run(
        [sys.executable, train_cases.__file__, path, tmp_path],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        check=True,
    )
    one, two = (dict(np.load(tmp_path / f"{name}.npz")) for name in both)
    assert one["log/distillation"] > 1e-3
    for name in one:
        if not name.startswith("seed"):
            np.testing.assert_allclose(
                one[name], two[name], atol=1e-5, err_msg=name
            )
