import dataclasses
import os
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data import preprocessing, sources
from transfer import decoded_cache, inputs, recipes

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
    return sources.from_arrays(images, np.arange(COUNT) % 3, RESULT.class_names)


def _batches(feed, count=6, start_step=0):
    dataset = feed.make_dataset(BATCH, start_step=start_step)
    return [
        (np.asarray(feed.augment(batch)), labels.numpy())
        for batch, labels in dataset.take(count)
    ]


def _both(examples, config, monkeypatch, **settings):
    result = types.SimpleNamespace(**{**vars(RESULT), **settings})
    device = inputs.Feed(examples, result, config, flip=True)
    monkeypatch.setattr(decoded_cache, "prepare", lambda *_: None)
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
        image = tf.fill([*size, 3], tf.constant(10 * number % 256, "uint8"))
        path.write_bytes(tf.io.encode_png(image).numpy())
    return sources.from_folder_splits(folder, splits=("train",))["train"]


# More than are decoded at a time, of which a part is to train on.
SIZES = [(30, 50), (64, 20), (40, 40), (1, 1), (24, 48)] * 28
LIMIT = 64


@pytest.fixture
def photos(tmp_path):
    return _write(tmp_path / "photos", SIZES)


def test_images_of_many_sizes_are_kept_as_they_are(photos):
    made = decoded_cache.prepare(photos, LIMIT)
    assert made.pixels.shape == (photos.size, 64, 50, 3)
    assert photos.size > decoded_cache.BATCH_SIZE
    for pixels, shape, (image, _) in zip(
        made.pixels, made.shapes, photos.dataset, strict=True
    ):
        image = preprocessing.decode(image).numpy()
        assert tuple(shape) == image.shape
        height, width, _ = shape
        np.testing.assert_array_equal(pixels[:height, :width], image)
        assert not pixels[height:].any() and not pixels[:, width:].any()


def test_one_image_that_is_too_large_leaves_all_to_the_host(photos):
    assert decoded_cache.prepare(photos, LIMIT - 1) is None


def test_the_shape_of_a_jpeg_is_read_from_its_head(tmp_path):
    folder = tmp_path / "photos" / "train"
    for name, channels in (("a", 3), ("b", 1)):
        (folder / name).mkdir(parents=True)
        image = tf.zeros([17, 33, channels], "uint8")
        encoded = tf.io.encode_jpeg(image).numpy()
        for number in range(3):
            (folder / name / f"{number}.jpg").write_bytes(encoded)
    examples = sources.from_folder_splits(
        tmp_path / "photos", splits=("train",)
    )
    made = decoded_cache.prepare(examples["train"], 40)
    assert {tuple(shape) for shape in made.shapes} == {(17, 33, 3)}


@pytest.mark.parametrize("padding", [0, None])
def test_photographs_are_cropped_as_the_host_would(
    tmp_path, monkeypatch, padding
):
    """Wide and high ones, whose canvases are larger than they are."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), "uint8")
    for number in range(12):
        path = tmp_path / f"photos/train/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = noise[: 30 + 5 * number, : 80 - 4 * number]
        path.write_bytes(tf.io.encode_png(image).numpy())
    examples = sources.from_folder_splits(
        tmp_path / "photos", splits=("train",)
    )
    settings = {"crop_padding": padding, "resolution": 48}
    device, host = _both(examples["train"], CONFIG, monkeypatch, **settings)
    for (made, _), (expected, _) in zip(device, host, strict=True):
        np.testing.assert_allclose(made, expected, atol=1e-2)


def test_closed_canvases_hold_no_pixels(examples):
    feed = inputs.Feed(examples, RESULT, CONFIG, flip=True)
    _batches(feed, 1)
    feed.close()
    assert feed._canvases.pixels is None


def test_what_is_too_large_for_memory_is_kept_in_a_file(
    photos, cache, monkeypatch
):
    in_memory = decoded_cache.prepare(photos, LIMIT)
    monkeypatch.setattr(decoded_cache, "MEMORY_LIMIT", 0)
    cache.mkdir(parents=True)
    (cache / ".tmp-1-left.npy").write_bytes(b"by a kill")
    on_disk = decoded_cache.prepare(photos, LIMIT)
    assert isinstance(on_disk.pixels, np.memmap)
    monkeypatch.setattr(decoded_cache, "_fill", None)  # A second time reads it.
    for made in (on_disk, decoded_cache.prepare(photos, LIMIT)):
        for field in ("pixels", "shapes", "labels"):
            np.testing.assert_array_equal(
                getattr(made, field), getattr(in_memory, field)
            )
    assert [path.name for path in cache.glob(".tmp-*")] == []


def test_images_in_files_make_room_for_new_ones(photos, cache, monkeypatch):
    monkeypatch.setattr(decoded_cache, "MEMORY_LIMIT", 0)
    decoded_cache.prepare(photos, LIMIT)
    (kept,) = cache.glob("*.npy")
    size = kept.stat().st_size
    old = kept.with_name("old.npy")
    old.write_bytes(bytes(size))
    os.utime(old, (0, 0))
    os.utime(kept, (1, 1))
    decoded_cache.prepare(photos, LIMIT)  # Used again.
    assert kept.stat().st_mtime > 1e9
    os.utime(kept, (1, 1))
    monkeypatch.setattr(decoded_cache, "DISK_LIMIT", 2.5 * size)
    examples = dataclasses.replace(photos, fingerprint="of other photos")
    assert decoded_cache.prepare(examples, LIMIT) is not None
    assert not old.exists() and kept.exists()
    assert len(list(cache.glob("*.npy"))) == 2


def test_what_is_too_large_for_the_disk_is_decoded_anew(photos, monkeypatch):
    monkeypatch.setattr(decoded_cache, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(decoded_cache, "DISK_LIMIT", 0)
    assert max(map(max, SIZES)) <= inputs.MAX_SIDE * SIZE
    feed = inputs.Feed(photos, RESULT, CONFIG, flip=True)
    assert feed.augmentation is None
    assert _batches(feed, 1)[0][0].shape == (BATCH, SIZE, SIZE, 3)


def test_cutout_is_left_to_the_host(photos):
    config = dataclasses.replace(CONFIG, cutout=0.5)
    assert inputs.Feed(photos, RESULT, config, flip=True).augmentation is None


def test_a_damaged_image_is_named(tmp_path):
    photos = _write(tmp_path / "photos", SIZES)
    victim = pathlib.Path(photos.source.name(7))
    victim.write_bytes(victim.read_bytes()[:40])
    with pytest.raises(tf.errors.InvalidArgumentError, match=victim.name):
        decoded_cache.prepare(photos, LIMIT)
