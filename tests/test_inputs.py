import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf import data, preprocessing
from transfer import canvases, inputs, recipes

COUNT, SIDE, SIZE, BATCH = 20, 24, 40, 4
CONFIG = recipes.FinetuneConfig(min_area=0.3, seed=7)
RESULT = types.SimpleNamespace(
    resolution=SIZE,
    interpolation="bilinear",
    crop_padding=0,
    class_names=("a", "b", "c"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "canvases"


@pytest.fixture
def examples():
    images = np.random.default_rng(0).integers(
        0, 256, (COUNT, SIDE, SIDE, 3), dtype="uint8"
    )
    return data.from_arrays(images, np.arange(COUNT) % 3, RESULT.class_names)


def _batches(feed, count=6, start_step=0):
    dataset = feed.make_dataset(BATCH, start_step=start_step)
    return [
        (np.asarray(feed.augment(batch)), labels.numpy())
        for batch, labels in dataset.take(count)
    ]


def _both(examples, config, monkeypatch, **settings):
    result = types.SimpleNamespace(**{**vars(RESULT), **settings})
    device = inputs.Feed(examples, result, config, flip=True)
    monkeypatch.setattr(canvases, "prepare", lambda *_: None)
    host = inputs.Feed(examples, result, config, flip=True)
    assert device.augmentation is not None and host.augmentation is None
    return _batches(device), _batches(host)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"min_area": 1.0},
        {"mixup_alpha": 0.4, "cutmix_alpha": 1.0},
        {"train_crop": "random", "resize": 48},
    ],
)
def test_the_device_makes_the_images_that_the_host_would(
    examples, monkeypatch, fields
):
    config = dataclasses.replace(CONFIG, **fields)
    device, host = _both(examples, config, monkeypatch)
    for (made, labels), (expected, expected_labels) in zip(
        device, host, strict=True
    ):
        np.testing.assert_allclose(labels, expected_labels, atol=1e-6)
        if config.resize:
            # The host's crops go on beyond their edge.
            made, expected = made[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2]
        np.testing.assert_allclose(made, expected, atol=1e-3)


def test_crops_without_aspect_are_the_same_too(examples, monkeypatch):
    device, host = _both(examples, CONFIG, monkeypatch, crop_padding=None)
    for (made, _), (expected, _) in zip(device, host, strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-3)


def test_it_goes_on_where_it_was_left(examples):
    config = dataclasses.replace(CONFIG, mixup_alpha=0.4, cutmix_alpha=1.0)
    feed = inputs.Feed(examples, RESULT, config, flip=True)
    whole, rest = _batches(feed), _batches(feed, 3, start_step=3)
    for (images, labels), (again, labels_again) in zip(
        whole[3:], rest, strict=True
    ):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)


def test_an_epoch_shows_every_image_once(examples):
    config = dataclasses.replace(CONFIG, min_area=1.0)
    feed = inputs.Feed(examples, RESULT, config, flip=False)
    seen = np.concatenate([images for images, _ in _batches(feed, 5)])
    keys = {tuple(np.round(image[::9, ::9, 0]).ravel()) for image in seen}
    assert len(keys) == COUNT


def _write(folder, sizes):
    """One grey image a size, of two classes."""
    for number, size in enumerate(sizes):
        path = folder / f"train/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = tf.fill([*size, 3], tf.constant(10 * number, "uint8"))
        path.write_bytes(tf.io.encode_png(image).numpy())
    return data.from_folder_splits(folder, splits=("train",))["train"]


SIZES = [(30, 50), (64, 20), (40, 40), (1, 1), (200, 300), (24, 48)] * 6


@pytest.fixture
def photos(tmp_path):
    return _write(tmp_path / "photos", SIZES)


def test_images_of_many_sizes_become_squares(photos):
    made = canvases.prepare(photos, 32)
    assert made.pixels.shape[1:] == (32, 32, 3)
    originals = [
        preprocessing.decode(image).numpy() for image, _ in photos.dataset
    ]
    for pixels, shape, original in zip(
        made.pixels, made.shapes, originals, strict=True
    ):
        assert tuple(shape) == original.shape
        assert (pixels == original[0, 0]).all()


def test_crops_are_of_the_image_as_it_was():
    """Twice as wide as high: the crop's aspect counts in its own pixels."""
    ramp = np.broadcast_to(np.arange(120)[None, :, None], (60, 120, 3))
    images = np.repeat(ramp[None].astype("uint8"), COUNT, axis=0)
    examples = data.from_arrays(images, np.arange(COUNT) % 2, ("a", "b"))
    feed = inputs.Feed(
        examples,
        RESULT,
        dataclasses.replace(CONFIG, min_area=0.4),
        flip=False,
    )
    assert feed._canvases.pixels.shape[1] == feed._canvases.pixels.shape[2]
    for images, _ in _batches(feed, 5):
        spans = images[:, 20, -1, 0] - images[:, 20, 0, 0]
        # 3:4 to 4:3, of at most 60 rows, and 0.4 of 60 x 120 pixels.
        assert spans.min() > 40 and spans.max() <= 60 * 4 / 3


def test_what_is_too_large_for_memory_is_kept_in_a_file(
    photos, cache, monkeypatch
):
    in_memory = canvases.prepare(photos, 32)
    monkeypatch.setattr(canvases, "MEMORY_LIMIT", 0)
    on_disk = canvases.prepare(photos, 32)
    assert isinstance(on_disk.pixels, np.memmap)
    monkeypatch.setattr(canvases, "_fill", None)  # A second time reads it.
    for made in (on_disk, canvases.prepare(photos, 32)):
        for field in ("pixels", "shapes", "labels"):
            np.testing.assert_array_equal(
                getattr(made, field), getattr(in_memory, field)
            )
    assert [path.name[0] for path in cache.iterdir()] != ["."]


def test_what_is_too_large_for_the_disk_is_decoded_anew(photos, monkeypatch):
    monkeypatch.setattr(canvases, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(canvases, "DISK_LIMIT", 0)
    feed = inputs.Feed(photos, RESULT, CONFIG, flip=True)
    assert feed.augmentation is None
    assert _batches(feed, 1)[0][0].shape == (BATCH, SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("fields", "settings"),
    [({"cutout": 0.5}, {}), ({}, {"interpolation": "area"})],
)
def test_what_the_device_cannot_do_the_host_does(photos, fields, settings):
    result = types.SimpleNamespace(**{**vars(RESULT), **settings})
    config = dataclasses.replace(CONFIG, **fields)
    assert inputs.Feed(photos, result, config, flip=True).augmentation is None


def test_a_damaged_image_is_named(tmp_path):
    photos = _write(tmp_path / "photos", SIZES)
    victim = sorted((tmp_path / "photos").rglob("*.png"))[7]
    victim.write_bytes(victim.read_bytes()[:40])
    with pytest.raises(tf.errors.InvalidArgumentError, match=victim.name):
        canvases.prepare(photos, 32)


def test_images_that_need_no_resizing_are_kept_as_they_are(examples):
    made = canvases.prepare(examples, SIZE)
    originals = np.stack([image.numpy() for image, _ in examples.dataset])
    np.testing.assert_array_equal(made.pixels, originals)
