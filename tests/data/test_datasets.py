import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientnet_tf.data import datasets, resumable
from efficientnet_tf.data.archives import tfds
from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import sources


def _numbers(size):
    """Returns examples whose only pixel is the number of the image."""
    images = np.zeros((size, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(size)
    return sources.from_arrays(images, np.arange(size) % 3, ["a", "b", "c"])


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 10, 64])
def test_evaluation_sees_every_image_once_in_order(batch_size):
    examples = _numbers(10)
    dataset = datasets.make_eval_dataset(
        examples, lambda image: image, batch_size=batch_size
    )
    batches = [(images.numpy(), labels.numpy()) for images, labels in dataset]
    seen = np.concatenate([images[:, 0, 0, 0] for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(seen, np.arange(10))
    np.testing.assert_array_equal(labels, np.arange(10) % 3)
    assert len(dataset) == len(batches) == -(-10 // batch_size)


def _number(image, seed):
    """Returns an image's number and its seed."""
    return tf.concat([tf.cast(image[0, 0, :1], "int64"), seed], axis=0)


def _epochs(examples, **options):
    options = {"preprocess": _number, "batch_size": 4, "seed": 1} | options
    return datasets.make_epochs_dataset(examples, **options)


def _batches(examples, steps, **options):
    """Returns the first batches: numbers and seeds [N, 3], labels [N]."""
    return [
        (images.numpy(), labels.numpy())
        for images, labels in _epochs(examples, **options).take(steps)
    ]


def _assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 15])
def test_every_epoch_shows_every_training_image_once(batch_size):
    batches = _batches(_numbers(10), 30 // batch_size, batch_size=batch_size)
    stream = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(labels, stream[:, 0] % 3)
    epochs = stream[:, 0].reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    # Shuffled, and anew for each epoch.
    assert len({tuple(epoch) for epoch in epochs} | {tuple(range(10))}) == 4
    # No seed comes twice.
    assert len(np.unique(stream[:, 1:], axis=0)) == 30


def test_order_and_seeds_follow_the_seed_alone():
    first = _batches(_numbers(10), 5)
    tf.random.set_seed(7)
    _assert_equal(first, _batches(_numbers(10), 5))
    other = _batches(_numbers(10), 5, seed=2)
    assert any((a[0] != b[0]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("start", [1, 2, 5, 13])
def test_a_stream_goes_on_anywhere_as_if_uninterrupted(start):
    whole = _batches(_numbers(10), 15)
    rest = _batches(_numbers(10), 15 - start, start_step=start)
    _assert_equal(whole[start:], rest)


def test_tfds_goes_on_anywhere_and_decodes_nothing_before(data_dir):
    examples = tfds.load("imagenet2012", "train", data_dir)
    opened = []

    def preprocess(image, seed):
        tf.py_function(lambda: opened.append(1), [], [])
        size = tf.cast(tf.strings.length(image), "int64")
        return tf.stack([size, *tf.unstack(seed)])

    options = {"preprocess": preprocess, "batch_size": 100}
    whole = _batches(examples, 8, **options)
    opened.clear()
    rest = _batches(examples, 1, start_step=7, **options)
    _assert_equal(whole[7:], rest)
    # One batch, what is prefetched, and the try at the beginning.
    assert len(opened) < 700
    epoch = np.concatenate([images[:, 0] for images, _ in whole[:5]])
    expected = [len(image.numpy()) for image, _ in examples.dataset]
    assert sorted(epoch) == sorted(expected) and list(epoch) != expected


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_divide_each_batch(workers):
    whole = _batches(_numbers(10), 8, batch_size=8)
    parts = [
        _batches(
            _numbers(10),
            8,
            batch_size=8,
            input_pipeline_id=i,
            num_input_pipelines=workers,
        )
        for i in range(workers)
    ]
    joined = [
        tuple(np.concatenate(column) for column in zip(*step, strict=True))
        for step in zip(*parts, strict=True)
    ]
    _assert_equal(whole, joined)
    with pytest.raises(ValueError, match="batch of 9 cannot be divided"):
        _epochs(_numbers(10), batch_size=9, num_input_pipelines=2)


def test_the_batch_transform_gets_whole_batches_and_a_seed():
    def transform(images, labels, seed):
        return images * 0 + seed[1], tf.one_hot(labels, 3)

    batches = _batches(_numbers(6), 3, batch_transform=transform)
    for step, (images, labels) in enumerate(batches):
        assert (images == step).all()
        assert labels.shape == (4, 3)
    again = _batches(_numbers(6), 1, batch_transform=transform, start_step=2)
    _assert_equal(batches[2:], again)


def test_parts_of_a_batch_have_seeds_of_their_own_after_a_resume_as_well():
    def transform(images, labels, seed):
        return images * 0 + seed[1], labels

    def seeds(index, start_step):
        parts = _batches(
            _numbers(8),
            4 - start_step,
            batch_transform=transform,
            input_pipeline_id=index,
            num_input_pipelines=2,
            start_step=start_step,
        )
        return [int(images.flat[0]) for images, _ in parts]

    assert seeds(0, 0) == [0, 2, 4, 6] and seeds(1, 0) == [1, 3, 5, 7]
    assert seeds(0, 2) == [4, 6] and seeds(1, 2) == [5, 7]


def _refuse(*numbers):
    """Returns a `_number` that cannot read some images."""

    def preprocess(image, seed=None):
        bad = tf.reduce_any(image[0, 0, 0] == tf.constant(numbers, "uint8"))
        with tf.control_dependencies([tf.debugging.Assert(~bad, ["bad"])]):
            zeros = tf.zeros([2], "int64")
            return _number(image, zeros if seed is None else seed)

    return preprocess


@pytest.mark.parametrize("workers", [1, 2])
def test_the_next_image_takes_the_place_of_a_corrupt_one(workers, caplog):
    for worker in range(workers):
        options = {
            "input_pipeline_id": worker,
            "num_input_pipelines": workers,
        }
        whole = np.concatenate(
            [images for images, _ in _batches(_numbers(10), 15, **options)]
        )
        corrupt = resumable.Corrupt(10, 0.2)
        found = _batches(
            _numbers(10),
            13,
            preprocess=_refuse(3, 7),
            corrupt=corrupt,
            **options,
        )
        found = np.concatenate([images for images, _ in found])
        expected = list(whole)
        for i in reversed(range(len(whole) - 1)):
            if whole[i][0] in (3, 7):
                expected[i] = expected[i + 1]
        np.testing.assert_array_equal(found, expected[: len(found)])
        assert corrupt.names == {"image 3", "image 7"}
        corrupt.check()
    assert "image 3 cannot be read" in caplog.text


def test_too_many_corrupt_images_stop_the_run_with_their_names():
    corrupt = resumable.Corrupt(10, 0.1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 3; image"):
        _batches(_numbers(10), 9, preprocess=_refuse(3, 7), corrupt=corrupt)
    with pytest.raises(RuntimeError, match=r"2 of 10 images \(20.00%\) cannot"):
        corrupt.check()


def test_a_preprocessing_that_never_works_is_not_taken_for_bad_images():
    with pytest.raises(RuntimeError, match="None of the first images.*bad"):
        _epochs(_numbers(10), preprocess=_refuse(*range(10)))


def test_images_that_vanish_during_a_run_end_it(tmp_path, make_folder):
    folder = make_folder(tmp_path, {"a": 10, "b": 10})
    examples = sources.load(f"folder:{folder}", "train")
    ds = _epochs(
        examples,
        preprocess=lambda image, seed: decoding.decode(image)[:1, :1],
        corrupt=resumable.Corrupt(examples.size, 1.0),
    )
    for file in folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="No image of a whole epoch"
    ):
        list(ds.take(100))


def test_evaluation_names_the_image_that_it_cannot_read():
    for bad in (0, 4, 9):
        ds = datasets.make_eval_dataset(
            _numbers(10), _refuse(bad), batch_size=3
        )
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=f"image {bad}"
        ):
            list(ds)


@pytest.mark.parametrize(
    "batch_size,workers", [(8, 2), (4, 1), (16, 4), (6, 3)]
)
@pytest.mark.parametrize("size", [10, 12, 1])
def test_padded_evaluation_weighs_each_image_once(size, batch_size, workers):
    steps = set()
    seen = []
    for worker in range(workers):
        ds = datasets.make_padded_eval_dataset(
            _numbers(size),
            lambda image: image[0, 0],
            batch_size=batch_size,
            input_pipeline_id=worker,
            num_input_pipelines=workers,
        )
        batches = [[part.numpy() for part in batch] for batch in ds]
        steps.add(len(batches))
        for images, labels, weights in batches:
            assert len(images) == batch_size // workers
            real = weights == 1
            assert (weights[~real] == 0).all()
            np.testing.assert_array_equal(labels[real], images[real, 0] % 3)
            seen += list(images[real, 0])
    assert sorted(seen) == list(range(size))
    assert steps == {-(-size // batch_size)}


def test_a_jpeg_damaged_in_its_middle_is_named(tmp_path, make_folder):
    folder = make_folder(tmp_path, {"a": 3, "b": 3})
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    # A table that cannot be, where there should be pixels: libjpeg puts up
    # with most other damage.
    middle = len(content) // 2
    content[middle : middle + 7] = b"\xff\xdb\x00\x05\x99\x00\x00"
    damaged = folder / "a" / "damaged.jpg"
    damaged.write_bytes(buffer.getvalue())
    splits = sources.from_folder_splits(folder)
    damaged.write_bytes(content)  # After all images were decoded once.
    named = 0
    for examples in splits.values():
        ds = datasets.make_eval_dataset(
            examples, lambda i: decoding.decode(i)[:1, :1], batch_size=2
        )
        if str(damaged) in examples.source.names:
            named += 1
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="a/damaged.jpg"
            ):
                list(ds)
    assert named == 1
