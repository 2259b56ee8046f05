import collections
import io
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientnet_tf.data import datasets, preprocessing

COUNTS = {"ant": 10, "bee": 20, "cat": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("flat"), COUNTS)


def _ids(examples):
    """The (label, number of the image) of each, read from the first pixel."""
    ids = []
    for image, label in examples.dataset:
        number, written, _ = preprocessing.decode(image)[0, 0].numpy()
        assert written == label.numpy()
        ids.append((int(written), int(number)))
    return ids


def _numbers(size):
    """Examples whose only pixel is the number of the image."""
    images = np.zeros((size, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(size)
    return datasets.from_arrays(images, np.arange(size) % 3, ["a", "b", "c"])


# Rounded shares of 10 % and 20 %, at least one each.
SIZES = {"validation": [1, 2, 1], "test": [2, 4, 1], "train": [7, 14, 3]}


def test_a_folder_is_divided_class_by_class(folder):
    assert set(SIZES) == set(datasets.class_folders.SPLIT_NAMES)
    for split, sizes in SIZES.items():
        examples = datasets.from_folder(folder, split)
        labels = collections.Counter(label for label, _ in _ids(examples))
        assert [labels[i] for i in range(3)] == sizes
        assert examples.size == sum(sizes)
        assert examples.class_names == ("ant", "bee", "cat")


def test_the_splits_share_no_image_and_leave_none_out(folder):
    ids = [
        i for split in SIZES for i in _ids(datasets.from_folder(folder, split))
    ]
    assert len(ids) == len(set(ids)) == sum(COUNTS.values())


def test_the_division_stays_when_read_again_or_moved(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    for split in SIZES:
        first = datasets.from_folder(folder, split)
        again = datasets.from_folder(folder, split)
        assert (
            _ids(first)
            == _ids(again)
            == _ids(datasets.from_folder(moved, split))
        )
        assert first.fingerprint == again.fingerprint


def test_the_fingerprint_follows_the_files(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    prints = {
        split: datasets.from_folder(copy, split).fingerprint for split in SIZES
    }
    assert len(set(prints.values())) == 3
    for file in copy.rglob("*.png"):
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    for split, before in prints.items():
        assert datasets.from_folder(copy, split).fingerprint != before


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing")]
)
def test_a_folder_with_its_own_splits_keeps_them(tmp_path, make_folder, names):
    for name, count in zip(names, (4, 3, 2), strict=True):
        make_folder(tmp_path / name, {"a": count, "b": count})
    sizes = [
        datasets.from_folder(tmp_path, s).size
        for s in datasets.class_folders.SPLIT_NAMES
    ]
    assert sizes == [8, 6, 4]


def test_a_missing_split_is_taken_out_of_train_alone(tmp_path, make_folder):
    make_folder(tmp_path / "train", {"a": 10, "b": 10})
    make_folder(tmp_path / "test", {"a": 3, "b": 3})
    parts = {
        s: datasets.from_folder(tmp_path, s)
        for s in datasets.class_folders.SPLIT_NAMES
    }
    assert {s: part.size for s, part in parts.items()} == {
        "train": 18,
        "validation": 2,
        "test": 6,
    }
    assert not set(_ids(parts["train"])) & set(_ids(parts["validation"]))


def _remove_all(folder):
    for file in folder.rglob("*.png"):
        file.unlink()


def _text(folder):
    (folder / "bee" / "003.png").write_text("words")


def _zero(folder):
    (folder / "bee" / "003.png").write_bytes(b"")


def _cut(folder):
    # In every split, wherever the file landed, it is named.
    for file in (folder / "ant").glob("*.png"):
        file.write_bytes(file.read_bytes()[:-30])


BAD_FOLDERS = {
    "one class": (
        lambda p: [shutil.rmtree(p / c) for c in ("ant", "bee")],
        "holds one class, 'cat'",
    ),
    "empty class": (
        lambda p: [f.unlink() for f in (p / "ant").iterdir()],
        "class folder .*/ant is empty",
    ),
    "no images": (_remove_all, "holds no images: expected .*/CLASS/IMAGE.jpg"),
    "no classes": (
        lambda p: [shutil.rmtree(p / c) for c in COUNTS],
        "holds no images",
    ),
    "too few": (
        lambda p: [f.unlink() for f in sorted((p / "cat").iterdir())[2:]],
        "Class 'cat' .* has 2 images; at least 3",
    ),
    "text": (_text, "1 of .* cannot be read; .*bee/003.png is not an image"),
    "zero bytes": (_zero, "1 of .*bee/003.png is empty"),
    "cut short": (
        _cut,
        "cannot be read; .*ant/.*png is a damaged or truncated",
    ),
}


@pytest.mark.parametrize(
    "damage,message", BAD_FOLDERS.values(), ids=BAD_FOLDERS
)
def test_a_bad_folder_gives_one_line(folder, tmp_path, damage, message):
    copy = shutil.copytree(folder, tmp_path / "copy")
    damage(copy)
    with pytest.raises(RuntimeError, match=message) as caught:
        for split in SIZES:
            datasets.from_folder(copy, split)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_unknown_split_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        datasets.from_folder(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="'dev'; choose one of train, valid"):
        datasets.from_folder(folder, "dev")


def test_splits_with_other_classes_are_refused(tmp_path, make_folder):
    make_folder(tmp_path / "train", {"a": 4, "b": 4})
    make_folder(tmp_path / "test", {"a": 4, "c": 4})
    message = (
        f"{tmp_path}: test and train differ in the class folders: 1 only in "
        r"test \(c\), 1 only in train \(b\)\."
    )
    with pytest.raises(RuntimeError, match=message):
        datasets.from_folder(tmp_path, "train")


def test_a_class_that_is_spelled_in_two_ways_is_refused(tmp_path, make_folder):
    # The same letter as one code point and as two.
    make_folder(tmp_path, {"caf\u00e9": 4, "cafe\u0301": 4, "bar": 4})
    with pytest.raises(
        RuntimeError, match="'caf\u00e9' twice: .*u0301"
    ) as caught:
        datasets.from_folder(tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


# Labels, class names, what the line says.
BAD_LABELS = [
    ([0, 2, 1], "ab", "Image 1 has label 2; 2 classes have labels 0 to 1"),
    ([0, 1, -1], "ab", "Image 2 has label -1"),
    ([0, 1, 2], "aba", "The class name 'a' is there twice"),
]


@pytest.mark.parametrize("labels, names, message", BAD_LABELS)
def test_labels_and_names_that_do_not_fit_are_named(labels, names, message):
    images = np.zeros((3, 1, 1, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        datasets.from_arrays(images, np.array(labels), names)


def test_a_name_decides_where_data_come_from(folder):
    assert datasets.load(f"folder:{folder}", "test").size == 7


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
    """The number of an image, and the seed that it was given."""
    return tf.concat([tf.cast(image[0, 0, :1], "int64"), seed], axis=0)


def _epochs(examples, **options):
    options = {"preprocess": _number, "batch_size": 4, "seed": 1} | options
    return datasets.make_epochs_dataset(examples, **options)


def _batches(examples, steps, **options):
    """Arrays (numbers and seeds [N, 3], labels [N]) of the first batches."""
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
    examples = datasets.from_tfds("imagenet2012", "train", data_dir)
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
    """A `_number` that cannot read some images."""

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
        corrupt = datasets.resumable.Corrupt(10, 0.2)
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
    corrupt = datasets.resumable.Corrupt(10, 0.1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 3; image"):
        _batches(_numbers(10), 9, preprocess=_refuse(3, 7), corrupt=corrupt)
    with pytest.raises(RuntimeError, match=r"2 of 10 images \(20.00%\) cannot"):
        corrupt.check()


def test_a_preprocessing_that_never_works_is_not_taken_for_bad_images():
    with pytest.raises(RuntimeError, match="Not one of the first images.*bad"):
        _epochs(_numbers(10), preprocess=_refuse(*range(10)))


def test_images_that_vanish_during_a_run_end_it(tmp_path, make_folder):
    folder = make_folder(tmp_path, {"a": 10, "b": 10})
    examples = datasets.from_folder(folder, "train")
    ds = _epochs(
        examples,
        preprocess=lambda image, seed: preprocessing.decode(image)[:1, :1],
        corrupt=datasets.resumable.Corrupt(examples.size, 1.0),
    )
    for file in folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Not one image"):
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


def test_a_photograph_is_turned_as_its_tag_says(tmp_path, make_folder):
    folder = make_folder(tmp_path, {"a": 3, "b": 3})
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned to the right by a quarter.
    file = folder / "a" / "photo.jpg"
    Image.fromarray(pixels).save(file, exif=exif, quality=95)
    splits = datasets.from_folder_splits(folder).values()
    images = [image for part in splits for image, _ in part.dataset]
    turned = [
        preprocessing.decode(image)
        for image in images
        if preprocessing.decode(image).shape[0] == 32
    ]
    assert len(turned) == 1
    assert turned[0][:16].numpy().max() < 20
    assert turned[0][16:].numpy().min() > 235


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
    (folder / "a" / "damaged.jpg").write_bytes(content)
    named = 0
    for examples in datasets.from_folder_splits(folder).values():
        ds = datasets.make_eval_dataset(
            examples, lambda i: preprocessing.decode(i)[:1, :1], batch_size=2
        )
        if str(folder / "a" / "damaged.jpg") in examples.source.names:
            named += 1
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="a/damaged.jpg"
            ):
                list(ds)
    assert named == 1


def test_wordnet_ids_stand_in_the_order_of_tfds(data_dir):
    examples = datasets.from_tfds("imagenet2012", "train", data_dir)
    assert datasets.imagenet_ids() == examples.class_names


def test_joined_examples_are_both_sets():
    joined = _numbers(4).concatenate(_numbers(3))
    assert joined.size == len(list(joined.dataset)) == 7
    assert joined.fingerprint not in {
        e.fingerprint for e in (_numbers(4), _numbers(3))
    }


def test_the_fingerprint_of_arrays_follows_images_and_labels():
    images, labels = np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1])
    prints = {
        datasets.from_arrays(images, labels, "ab").fingerprint,
        datasets.from_arrays(images + np.uint8(1), labels, "ab").fingerprint,
        datasets.from_arrays(images, labels[::-1], "ab").fingerprint,
    }
    assert len(prints) == 3


# Sizes in the table of the shared folder's README.
SHARED = [
    ("cifar10", "test", 965, 10),
    ("cifar100", "train", 6_000, 100),
    ("oxford_flowers102", "validation", 1_020, 102),
    ("cars196", "train", 1_960, 196),
    ("imagenet2012", "validation", 800, 1_000),
]


@pytest.mark.parametrize("name,split,size,classes", SHARED)
def test_a_tfds_set_is_read_as_encoded_bytes(
    data_dir, name, split, size, classes
):
    examples = datasets.from_tfds(name, split, data_dir)
    assert examples.size == size
    assert len(examples.class_names) == classes
    image, label = next(iter(examples.dataset))
    assert image.dtype == "string" and label.dtype == "int64"
    assert preprocessing.decode(image).shape[-1] == 3


def test_parts_of_a_tfds_split_share_no_image(data_dir):
    head, tail = (
        datasets.from_tfds("cars196", part, data_dir)
        for part in ("train[:90%]", "train[90%:]")
    )
    assert (head.size, tail.size) == (1_764, 196)
    assert head.fingerprint != tail.fingerprint
    seen = [{image.numpy() for image, _ in e.dataset} for e in (head, tail)]
    assert not seen[0] & seen[1]


def test_a_tfds_set_that_is_prepared_anew_is_another(data_dir, tmp_path):
    shutil.copytree(data_dir / "cifar10", tmp_path / "cifar10")
    before = datasets.from_tfds("cifar10", "test", tmp_path).fingerprint
    assert datasets.from_tfds("cifar10", "test", tmp_path).fingerprint == before
    (written,) = tmp_path.rglob("dataset_info.json")
    os.utime(written, (1, 1))
    assert datasets.from_tfds("cifar10", "test", tmp_path).fingerprint != before


def test_an_unknown_tfds_split_or_set_is_named(data_dir, tmp_path):
    with pytest.raises(
        ValueError, match="no split 'dev'; choose one of .*test"
    ):
        datasets.from_tfds("cifar10", "dev", data_dir)
    with pytest.raises(ValueError, match="no data set 'cifar11'"):
        datasets.from_tfds("cifar11", "train", tmp_path)
    with pytest.raises(ValueError, match="imdb_reviews has no feature 'image'"):
        datasets.from_tfds("imdb_reviews", "train", tmp_path)
    assert not os.listdir(tmp_path)


HINTS = {
    "food101": "`efficientnet prepare` reads the publisher's archives",
    "cars196": "its address is dead",
}


@pytest.mark.parametrize("name", HINTS)
@pytest.mark.filterwarnings("ignore")  # Sockets that TFDS leaves open.
def test_a_set_that_cannot_be_downloaded_leaves_nothing(
    tmp_path, monkeypatch, name
):
    # A port that nobody listens on, whether there is a network or not.
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets, "DOWNLOAD_RETRIES", 0)
    with pytest.raises(RuntimeError, match=HINTS[name]) as caught:
        datasets.from_tfds(name, "train", tmp_path)
    assert f"{name} is not in {tmp_path}" in str(caught.value)
    assert "tensorflow.org/datasets/catalog" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)
