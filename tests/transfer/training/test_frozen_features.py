import dataclasses
import os

import keras
import numpy as np
import pytest

from efficientnet_tf.data import datasets
from efficientnet_tf.data.sets import sources
from efficientnet_tf.models import builder
from transfer.training import frozen_features


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def network(tiny_row):
    return builder.build(tiny_row, classes=2, input_shape=(32, 32, 3))


def _examples(size=5, shift=0):
    images = np.random.default_rng(shift).integers(
        0, 256, (size, 32, 32, 3), dtype=np.uint8
    )
    return sources.from_arrays(images, np.arange(size) % 2, ["a", "b"])


def _dataset(examples):
    return datasets.make_eval_dataset(
        examples, lambda image: image, batch_size=2
    )


def test_features_are_the_pooled_layer_of_every_image_in_order(network):
    examples = _examples()
    found, labels = frozen_features.extract_features(
        network, _dataset(examples), "key"
    )
    images = np.stack([image.numpy() for image, _ in examples.dataset])
    pooled = keras.Model(network.inputs, network.get_layer("avg_pool").output)
    expected = pooled.predict_on_batch(images)
    assert found.shape == (5, 32) and found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(labels, [0, 1, 0, 1, 0])


def test_a_second_call_reads_the_cache(network, cache):
    first = frozen_features.extract_features(
        network, _dataset(_examples()), "key"
    )
    assert len(list(cache.iterdir())) == 1

    class Unreadable:
        def __iter__(self):
            raise AssertionError("computed again")

    again = frozen_features.extract_features(network, Unreadable(), "key")
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_damaged_features_are_computed_again(network, cache, caplog):
    first, _ = frozen_features.extract_features(
        network, _dataset(_examples()), "key"
    )
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for data in (whole[: len(whole) // 2], whole[:400] + b"x" + whole[401:]):
        file.write_bytes(data)
        again, _ = frozen_features.extract_features(
            network, _dataset(_examples()), "key"
        )
        np.testing.assert_array_equal(again, first)
        assert file.read_bytes() == whole
    # One is kept to look at.
    assert sorted(p.suffix for p in cache.iterdir()) == [".damaged", ".npz"]
    assert caplog.text.count("computing it again") == 2


def test_cached_features_keep_to_a_limit(network, cache, monkeypatch):
    frozen_features.extract_features(network, _dataset(_examples()), "one")
    (one,) = cache.iterdir()
    monkeypatch.setattr(frozen_features, "DISK_LIMIT", 1.5 * one.stat().st_size)
    os.utime(one, (0, 0))
    frozen_features.extract_features(network, None, "one")  # Used again.
    assert one.stat().st_mtime > 1e9
    os.utime(one, (0, 0))
    frozen_features.extract_features(network, _dataset(_examples()), "two")
    (two,) = cache.iterdir()
    assert two != one


def test_other_data_or_other_weights_are_not_read_from_the_cache(
    network, tiny_row, cache
):
    keras.utils.set_random_seed(1)
    two = builder.build(tiny_row, classes=2, input_shape=(32, 32, 3))
    results = [
        frozen_features.extract_features(network, _dataset(_examples()), "key")[
            0
        ],
        frozen_features.extract_features(
            network, _dataset(_examples(shift=1)), "other key"
        )[0],
        frozen_features.extract_features(two, _dataset(_examples()), "key")[0],
    ]
    assert len(list(cache.iterdir())) == 3
    assert len({result.tobytes() for result in results}) == 3


def test_equal_weights_in_another_graph_are_not_read_from_the_cache(
    network, tiny_row, cache
):
    graphs = [
        builder.build(row, classes=2, input_shape=(32, 32, 3), **options)
        for row, options in (
            (tiny_row, {}),
            (tiny_row, {"normalization": "advprop"}),
            (dataclasses.replace(tiny_row, padding="symmetric"), {}),
        )
    ]
    for graph in graphs:
        graph.set_weights(network.get_weights())
    found = {
        frozen_features.extract_features(g, _dataset(_examples()), "key")[
            0
        ].tobytes()
        for g in (network, *graphs)
    }
    assert len(found) == len(list(cache.iterdir())) == 3
    # Addresses in memory would make each process compute them again.
    assert not any(" at 0x" in repr(g.get_config()) for g in graphs[0].layers)


def test_another_head_is_the_same_network_to_the_cache(network, cache):
    frozen_features.extract_features(network, _dataset(_examples()), "key")
    head = network.get_layer("predictions")
    head.set_weights([value + 1 for value in head.get_weights()])
    frozen_features.extract_features(network, _dataset(_examples()), "key")
    assert len(list(cache.iterdir())) == 1


def test_joined_pairs_keep_their_order():
    pairs = [
        frozen_features.Features(np.full((n, 2), n), np.full(n, n))
        for n in (1, 2)
    ]
    joined, labels, _ = frozen_features.concatenate(pairs)
    np.testing.assert_array_equal(joined[:, 0], [1, 2, 2])
    np.testing.assert_array_equal(labels, [1, 2, 2])


def test_the_cache_is_where_the_environment_says(monkeypatch, cache, tmp_path):
    assert frozen_features.cache_folder() == cache
    monkeypatch.delenv("EFFICIENTNET_TF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = tmp_path / "efficientnet_tf" / "features"
    assert frozen_features.cache_folder() == expected
