"""TFRecords, sets of TFDS and of Hugging Face, as files in the cache."""

import dataclasses
import gzip
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientnet_tf.data.archives import hub_sets, record_sets, unpacked
from efficientnet_tf.data.sets import readers
from efficientnet_tf.utils import extras

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path / "cache"))


def make_image(number):
    """Returns a PNG of its own."""
    stream = io.BytesIO()
    pixels = np.full((4, 4, 3), (number % 256, number // 256, 7), "uint8")
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_feature(value):
    if isinstance(value, bytes):
        own = {"bytes_list": tf.train.BytesList(value=[value])}
    elif isinstance(value, float):
        own = {"float_list": tf.train.FloatList(value=[value])}
    else:
        values = value if isinstance(value, list) else [value]
        own = {"int64_list": tf.train.Int64List(value=values)}
    return tf.train.Feature(**own)


def write_records(path, rows):
    """Writes rows {feature: value}, one a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = {k: make_feature(v) for k, v in row.items()}
            example = tf.train.Example(
                features=tf.train.Features(feature=features)
            )
            writer.write(example.SerializeToString())


def rows(first, labels, image="image", label="class"):
    return [
        {image: make_image(first + i), label: value, "id": b"x"}
        for i, value in enumerate(labels)
    ]


def count(layout):
    return {
        split: {name: len(own) for name, own in classes.items()}
        for split, classes in layout.listed.items()
    }


KAGGLE = {
    "flowers": ("{}/00-224x224-3.tfrec", "image", "class", "val"),
    "cassava": ("ld_{}00-1338.tfrec", "image", "target", "valid"),
    "slim": (
        "flowers_{}_00000-of-00001.tfrecord",
        "image/encoded",
        "image/class/label",
        "validation",
    ),
    "TFDS": ("my-{}.tfrecord-00000-of-00001", "image", "label", "validation"),
}


@pytest.mark.parametrize(
    "pattern, image, label, validation", KAGGLE.values(), ids=KAGGLE
)
def test_records_are_read_as_notebooks_write_them(
    tmp_path, pattern, image, label, validation
):
    root = tmp_path / "records"
    for split, first, labels in (
        ("train", 0, [0, 10, 10]),
        (validation, 10, [10, 0]),
    ):
        path = root / pattern.format(split)
        write_records(path, rows(first, labels, image, label))
    bare = [{image: make_image(20), "id": b"y"}]
    write_records(root / pattern.format("test"), bare)
    layout = readers.read(f"records:{root}")
    assert count(layout) == {
        "train": {"0": 1, "10": 2},
        "validation": {"0": 1, "10": 1},
    }
    assert layout.class_names == ("0", "10")
    assert "images without a label in test: 1" in str(layout.left_out)
    (file,) = layout.listed["train"]["0"]
    assert file.read_bytes() == make_image(0)


NAMES = {
    "classes.txt": "rose\ncar/../red\n",
    "labels.txt": "0:rose\n1:car/../red\n",
    "label_num_to_kind_map.json": json.dumps({"1": "car/../red", "0": "rose"}),
    "class_names.json": json.dumps({"rose": 0, "car/../red": 1}),
    "names.json": json.dumps(["rose", "car/../red"]),
}


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_in_a_file_beside_the_records(tmp_path, name):
    root = tmp_path / "records"
    write_records(root / "a.tfrec", rows(0, [1, 0, 1]))
    (root / name).write_text(NAMES[name])
    layout = readers.read(f"records:{root}")
    assert layout.class_names == ("rose", "car/../red")
    assert count(layout) == {None: {"car/../red": 2, "rose": 1}}
    # A class named like a path is none.
    for file in layout.find_labels():
        assert file.resolve().is_relative_to(layout.root / "images")


def test_an_image_keeps_its_file_when_others_come(tmp_path):
    root = tmp_path / "records"
    write_records(root / "a.tfrec", rows(0, [0, 1, 1, 1]))
    before = readers.read(f"records:{root}")
    known = {f: f.stat().st_mtime_ns for f in before.find_labels()}
    assert readers.read(f"records:{root}").find_labels() == (
        before.find_labels()
    )
    # Shuffled and with more; one is there twice, one is gone.
    write_records(root / "a.tfrec", [*rows(1, [1, 1, 1]), *rows(2, [1])])
    write_records(root / "b.tfrec", rows(50, [0]))
    after = readers.read(f"records:{root}")
    assert count(after) == {None: {"0": 1, "1": 3}}
    kept = [f for f in after.find_labels() if f in known]
    assert len(kept) == 3
    assert all(f.stat().st_mtime_ns == known[f] for f in kept)
    assert "images that are there twice: 1" in str(after.left_out)
    (gone,) = set(known) - set(kept)
    assert not gone.exists()


def test_compressed_records_are_read(tmp_path):
    write_records(tmp_path / "plain.tfrec", rows(0, [0, 1]))
    data = (tmp_path / "plain.tfrec").read_bytes()
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.tfrec.gz").write_bytes(gzip.compress(data))
    layout = readers.read(f"records:{tmp_path}/records")
    assert count(layout) == {None: {"0": 1, "1": 1}}


REFUSED = {
    "no files": ({}, "holds no TFRecord files"),
    "no label": ({"train.tfrec": [{"image": b"x"}]}, "no label .*image"),
    "two labels": (
        {"a.tfrec": [{"image": b"x", "class": 1, "target": 1}]},
        "has class and target",
    ),
    "no image": ({"a.tfrec": [{"class": 1}]}, "has no image among .*class"),
    "several labels": (
        {"a.tfrec": [{"image": b"x", "label": [1, 2]}]},
        "label is several labels",
    ),
    "regression": (
        {"a.tfrec": [{"image": b"x", "target": 0.5}]},
        "target is a number to predict",
    ),
    "only some splits": (
        {"train.tfrec": rows(0, [1]), "more.tfrec": rows(1, [0])},
        "1 of 2 files name no split .more.tfrec",
    ),
    "a set in two resolutions": (
        {
            f"{size}/{split}/0.tfrec": rows(0, [1])
            for size in ("jpeg-192", "jpeg-224")
            for split in ("train", "val")
        },
        "several sets, jpeg-192, jpeg-224, each",
    ),
    "two splits in a name": (
        {"train/test.tfrec": rows(0, [1])},
        "may be of test or train",
    ),
    "text in several ways": (
        {"a.tfrec": rows(0, [b"Cat", b"cat"])},
        "'Cat' .1. and 'cat'",
    ),
    "a label beyond the names": (
        {"a.tfrec": rows(0, [0, 2]), "classes.txt": "a\nb\n"},
        "record 1 has label 2, but there are 2 class names",
    ),
    "names that repeat": (
        {"a.tfrec": rows(0, [0]), "classes.txt": "a\na\n"},
        "no list of class names",
    ),
    "two lists of names": (
        {"a.tfrec": rows(0, [0]), "classes.txt": "a", "labels.txt": "a"},
        "classes.txt, labels.txt, each",
    ),
    "cut short": (
        {"a.tfrec": rows(0, [0, 1]), "cut": "a.tfrec"},
        "a.tfrec is damaged or cut short after 1 records",
    ),
    "no example": ({"a.tfrec": None}, "is no tf.train.Example"),
}


@pytest.mark.parametrize("found, message", REFUSED.values(), ids=REFUSED)
def test_records_that_cannot_be_used_are_refused(tmp_path, found, message):
    root = tmp_path / "records"
    root.mkdir()
    for name, content in found.items():
        path = root / name
        if name == "cut":
            data = (root / content).read_bytes()
            (root / content).write_bytes(data[:-9])
        elif content is None:
            with tf.io.TFRecordWriter(str(path)) as writer:
                writer.write(b"\xff\xff\xff")
        elif isinstance(content, str):
            path.write_text(content)
        else:
            write_records(path, content)
    with pytest.raises((OSError, RuntimeError), match=message) as caught:
        record_sets.read(root)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A set of TFDS with other names of features, written by TFDS itself."""
    library = pytest.importorskip("tensorflow_datasets")
    features = library.features.FeaturesDict(
        {
            "photo": library.features.Image(shape=(None, None, 3)),
            "kind": library.features.ClassLabel(names=["z", "a", "none"]),
            "size": np.int64,
        }
    )
    folder = tmp_path_factory.mktemp("tfds")

    class MyPets(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            return library.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(range(40)),
                "extra": self._generate_examples(range(1)),
            }

        def _generate_examples(self, numbers):
            for i in numbers:
                photo = io.BytesIO(make_image(i))
                yield i, {"photo": photo, "kind": i % 2, "size": i}

    MyPets(data_dir=folder).download_and_prepare()
    return folder


def test_a_prepared_set_of_tfds_is_divided(tfds_dir, caplog):
    from efficientnet_tf.data.sets import sources

    with caplog.at_level("INFO", "absl"):
        parts = sources.load_splits("tfds:my_pets", SPLITS, tfds_dir)
    sizes = [parts[s].size for s in SPLITS]
    assert sum(sizes) == 40 and min(sizes) > 0
    # In the set's own order; what no image has is no class.
    assert parts["test"].class_names == ("z", "a")
    assert "splits of other names: 1 (extra)" in caplog.text
    assert "1 of 3 classes have no images and are left out: none" in caplog.text
    for image, label in parts["train"].dataset.as_numpy_iterator():
        pixels = np.asarray(Image.open(io.BytesIO(image)))
        assert pixels[0, 0, 0] % 2 == label
    # Beside a bare name, which has TFDS's own splits.
    assert sources.load("my_pets", "train", tfds_dir).size == 40


@pytest.fixture(scope="module")
def scenes_dir(tmp_path_factory):
    """A set of TFDS with several labels an image, a number and a box."""
    library = pytest.importorskip("tensorflow_datasets")
    features = library.features
    names = ["car", "tree", "sky"]
    table = features.FeaturesDict(
        {
            "image": features.Image(shape=(None, None, 3)),
            "labels": features.Sequence(features.ClassLabel(names=names)),
            "age": features.Scalar(np.float32),
            "box": features.Tensor(shape=(2,), dtype=np.float32),
            "note": features.Text(),
        }
    )
    folder = tmp_path_factory.mktemp("scenes")

    class MyScenes(library.core.GeneratorBasedBuilder):
        VERSION = library.core.Version("1.0.0")

        def _info(self):
            return library.core.DatasetInfo(builder=self, features=table)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(range(30))}

        def _generate_examples(self, numbers):
            for i in numbers:
                yield (
                    i,
                    {
                        "image": io.BytesIO(make_image(i)),
                        "labels": [j for j in (0, 1) if i % (j + 2) == 0],
                        "age": i / 4,
                        "box": [i, -i],
                        "note": "x",
                    },
                )

    MyScenes(data_dir=folder).download_and_prepare()
    return folder


def load_scenes(folder, **options):
    from efficientnet_tf.data.sets import sources
    from efficientnet_tf.utils import folder_options, targets

    parts = sources.load_splits(
        "tfds:my_scenes",
        SPLITS,
        folder,
        folder_options.Options(**options),
        targets.KINDS,
    )
    found = {}
    for part in parts.values():
        for image, label in part.dataset.as_numpy_iterator():
            pixels = np.asarray(Image.open(io.BytesIO(image)))
            found[int(pixels[0, 0, 0])] = label.tolist()
    return parts["train"], found


def test_several_labels_of_tfds_are_read(scenes_dir, caplog):
    with caplog.at_level("INFO", "absl"):
        train, found = load_scenes(scenes_dir)
    assert train.target == "labels" and train.class_names == ("car", "tree")
    assert found == {i: [i % 2 == 0, i % 3 == 0] for i in range(30)}
    assert "1 of 3 classes have no images and are left out: sky" in caplog.text


def test_numbers_of_tfds_are_read_by_their_names(scenes_dir):
    train, found = load_scenes(scenes_dir, targets=("age", "box"))
    assert train.target == "numbers"
    assert train.class_names == ("age", "box_0", "box_1")
    assert found == {i: [i / 4, i, -i] for i in range(30)}
    # As a network that was trained on them names them.
    again, _ = load_scenes(scenes_dir, targets=train.class_names)
    assert again.class_names == train.class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ("agee",)}, "'agee'.*Did you mean 'age'"),
        ({"targets": ("note",)}, "feature of numbers 'note'"),
        ({"targets": ("box_1",)}, "feature of numbers 'box_1'"),
        ({"targets": ("labels",)}, "feature of numbers 'labels'"),
        ({"labels": ("labels",)}, "--labels names columns of csv:FILE"),
    ],
)
def test_features_of_tfds_that_are_no_numbers_are_refused(
    scenes_dir, options, message
):
    with pytest.raises(ValueError, match=message):
        load_scenes(scenes_dir, **options)


def test_an_archive_that_says_two_things_of_an_image_is_refused(tmp_path):
    def read_all():
        for number in (1.0, 2.0):
            yield unpacked.Image("train", (number,), make_image(0), f"{number}")

    archive = unpacked.Archive(
        "tfds:x",
        str(tmp_path),
        "1",
        ("age",),
        ["train"],
        read_all,
        kind="numbers",
    )
    with pytest.raises(RuntimeError, match="there twice, and with other numb"):
        unpacked.unpack(archive)
    bad = unpacked.Image("train", (float("nan"),), make_image(0), "example 3")
    archive = dataclasses.replace(archive, images=lambda: [bad])
    with pytest.raises(RuntimeError, match="example 3 has the numbers"):
        unpacked.unpack(archive)


@pytest.mark.skipif(
    not extras.is_installed("datasets"), reason="datasets is not installed"
)
def test_a_set_of_hugging_face_is_read(tmp_path):
    import datasets

    kinds = datasets.ClassLabel(names=["z", "a"])
    parts = {
        split: datasets.Dataset.from_dict(
            {
                "img": [
                    {"bytes": make_image(first + i), "path": None}
                    for i in range(4)
                ],
                "label": [i % 2 for i in range(4)] if labelled else [-1] * 4,
                "text": ["x"] * 4,
            },
            features=datasets.Features(
                {
                    "img": datasets.Image(),
                    "label": kinds,
                    "text": datasets.Value("string"),
                }
            ),
        )
        for split, first, labelled in (("train", 0, True), ("test", 9, False))
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    layout = readers.read(f"hf:{tmp_path}/set")
    assert count(layout) == {"train": {"z": 2, "a": 2}}
    assert layout.class_names == ("z", "a")
    assert "without a label in test: 4" in str(layout.left_out)
    several = parts["train"].features | {"label": datasets.Sequence(kinds)}
    with pytest.raises(RuntimeError, match="0 columns of classes; .*img"):
        hub_sets._find_features("x", several)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="empty cannot be read: ") as caught:
        readers.read(f"hf:{tmp_path}/empty")
    assert "\n" not in str(caught.value)


def test_two_splits_of_one_meaning_are_refused():
    with pytest.raises(RuntimeError, match="val and dev, which both mean 'val"):
        unpacked.find_splits("tfds:x", ["train", "val", "dev"])
