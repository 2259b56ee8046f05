import pytest
import tensorflow as tf

from efficientnet_tf.data import datasets, examples as examples_lib, resumable
from efficientnet_tf.data.archives import tfrecords

NAMES = ("a", "b", "c")


def _row(image, label):
    def feature(kind, value):
        return tf.train.Feature(**{kind: value})

    return tf.train.Example(
        features=tf.train.Features(
            feature={
                "image/encoded": feature(
                    "bytes_list", tf.train.BytesList(value=[image])
                ),
                "image/class/label": feature(
                    "int64_list", tf.train.Int64List(value=[label])
                ),
                # What else the layout has is not read.
                "image/filename": feature(
                    "bytes_list", tf.train.BytesList(value=[b"n1.JPEG"])
                ),
            }
        )
    ).SerializeToString()


def _write(folder, split, sizes):
    """Writes records; each one's image is its number, its label number % 3."""
    number = 0
    for i, size in enumerate(sizes):
        path = folder / f"{split}-{i:05d}-of-{len(sizes):05d}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(size):
                writer.write(_row(str(number).encode(), 1 + number % 3))
                number += 1
    return number


@pytest.fixture
def folder(tmp_path):
    _write(tmp_path, "train", (5, 4, 6))
    _write(tmp_path, "validation", (3,))
    return tmp_path


def _pairs(dataset):
    return [(int(image.numpy()), int(label)) for image, label in dataset]


def test_records_are_read_in_order_with_labels_from_zero(folder):
    train = tfrecords.from_records(folder, "train", NAMES)
    assert train.size == 15
    assert _pairs(train.dataset) == [(i, i % 3) for i in range(15)]
    assert tfrecords.from_records(folder, "validation", NAMES).size == 3


# Minival of the paper's repository is some files of train.
PARTS = [("train[:1]", range(0, 5)), ("train[1:]", range(5, 15))]


@pytest.mark.parametrize("split,numbers", PARTS)
def test_a_part_of_the_files_is_a_split(folder, split, numbers):
    examples = tfrecords.from_records(folder, split, NAMES)
    assert [i for i, _ in _pairs(examples.dataset)] == list(numbers)


def test_a_label_out_of_range_is_named_with_its_value(folder):
    few = tfrecords.from_records(folder, "train", NAMES[:2])
    # The third record is of the third class.
    with pytest.raises(tf.errors.InvalidArgumentError, match="3.*range.*2"):
        list(few.dataset)


def test_names_say_the_file_and_the_record(folder):
    source = tfrecords.from_records(folder, "train", NAMES).source
    assert source.name(0).endswith("train-00000-of-00003: record 0")
    assert source.name(8).endswith("train-00001-of-00003: record 3")
    skipped = tfrecords.Sharded((tfrecords.Shard("f", 10, 2),), None)
    assert skipped.name(1) == "f: record 11"


@pytest.mark.parametrize(
    ("shards", "shared"),
    [
        ([("a", 0, 10)], 10),  # All of one file.
        ([("a", 6, 10)], 4),
        ([("a", 10, 5), ("b", 3, 1)], 1),
        ([("c", 0, 10)], 0),
        ([("a", 20, 5)], 0),
    ],
)
def test_examples_that_two_splits_share_are_counted(shards, shared):
    def make(*shards):
        shards = tuple(tfrecords.Shard(*shard) for shard in shards)
        return examples_lib.Examples(
            tfrecords.Sharded(shards, None), ("a",), ""
        )

    one, other = make(("a", 0, 10), ("b", 2, 4)), make(*shards)
    assert one.count_shared(other) == other.count_shared(one) == shared


def test_missing_cut_and_unknown_files_are_named(folder):
    with pytest.raises(FileNotFoundError, match="no files .*/test-00000"):
        tfrecords.from_records(folder, "test", NAMES)
    with pytest.raises(ValueError, match=r"train\[5:\].* none of the 3"):
        tfrecords.from_records(folder, "train[5:]", NAMES)
    with pytest.raises(ValueError, match="Unknown split 'train\\[10%:\\]'"):
        tfrecords.from_records(folder, "train[10%:]", NAMES)
    last = folder / "train-00002-of-00003"
    whole = last.read_bytes()
    last.write_bytes(whole[:-3])
    with pytest.raises(RuntimeError, match="00002-of-00003 is cut short af.*5"):
        tfrecords.from_records(folder, "train", NAMES)
    last.unlink()
    with pytest.raises(FileNotFoundError, match="holds 2 of the 3 files"):
        tfrecords.from_records(folder, "train", NAMES)


@pytest.mark.parametrize("order", [None, (1, 2), (1, 3)])
def test_numbers_tell_the_order_without_reading(folder, order):
    source = tfrecords.from_records(folder, "train", NAMES).source
    order = None if order is None else tf.constant(order, "int64")
    rows = source.epoch(order, 0).take(source.size)
    read = [int(source.open(row)[0].numpy()) for _, row in rows]
    numbers = [int(number) for number in source.numbers(order)]
    assert read == numbers
    assert sorted(read) == list(range(15))
    assert (read == list(range(15))) == (order is None)


def test_the_order_does_not_follow_the_global_seed(folder):
    source = tfrecords.from_records(folder, "train", NAMES).source

    def order():
        return [int(n) for n in source.numbers(tf.constant([1, 2], "int64"))]

    tf.random.set_seed(1)
    first = order()
    tf.random.set_seed(2)
    assert order() == first


def test_what_follows_a_damaged_record_is_lost_and_counted(folder):
    path = folder / "train-00001-of-00003"
    content = bytearray(path.read_bytes())
    second = content.index(b"n1.JPEG", content.index(b"n1.JPEG") + 1)
    content[second] ^= 255
    path.write_bytes(content)
    examples = tfrecords.from_records(folder, "train", NAMES)
    corrupt = resumable.Corrupt(examples.size, 0.5)
    ds = datasets.make_epochs_dataset(
        examples,
        lambda image, seed: tf.strings.to_number(image, "int64"),
        batch_size=5,
        seed=0,
        corrupt=corrupt,
    )
    seen = {int(i) for images, _ in ds.take(6) for i in images}
    # Its four are 5 to 8, and the second is the damaged one.
    assert seen == {*range(6), *range(9, 15)}
    assert {name.split("/")[-1] for name in corrupt.names} == {
        f"train-00001-of-00003: record {i}" for i in (1, 2, 3)
    }


def test_a_worker_has_its_own_files_where_there_are_many():
    shards = tuple(tfrecords.Shard(str(i), 0, 1) for i in range(64))
    source = tfrecords.Sharded(shards, None)
    assert source.shard(0, 8) is None
    parts = [source.shard(i, 4) for i in range(4)]
    files = [shard.file for part in parts for shard in part.shards]
    assert sorted(files) == sorted(shard.file for shard in shards)
    assert {part.size for part in parts} == {16}


def test_workers_with_their_own_files_share_no_image(tmp_path):
    _write(tmp_path, "train", [3] * 32)
    examples = tfrecords.from_records(tmp_path, "train", NAMES)
    seen = []
    for worker in range(2):
        ds = datasets.make_epochs_dataset(
            examples,
            lambda image, seed: tf.strings.to_number(image, "int64"),
            batch_size=16,
            seed=0,
            input_pipeline_id=worker,
            num_input_pipelines=2,
        )
        seen.append([int(i) for images, _ in ds.take(6) for i in images])
    assert sorted(seen[0] + seen[1]) == list(range(96))
