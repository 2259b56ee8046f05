import os
import shutil

import pytest

from efficientnet_tf.data.archives import tfds
from efficientnet_tf.data.images import decoding

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
    examples = tfds.load(name, split, data_dir)
    assert examples.size == size
    assert len(examples.class_names) == classes
    image, label = next(iter(examples.dataset))
    assert image.dtype == "string" and label.dtype == "int64"
    assert decoding.decode(image).shape[-1] == 3


def test_parts_of_a_tfds_split_share_no_image(data_dir):
    head, tail = (
        tfds.load("cars196", part, data_dir)
        for part in ("train[:90%]", "train[90%:]")
    )
    assert (head.size, tail.size) == (1_764, 196)
    assert head.fingerprint != tail.fingerprint
    seen = [{image.numpy() for image, _ in e.dataset} for e in (head, tail)]
    assert not seen[0] & seen[1]


def test_a_tfds_set_that_is_prepared_anew_is_another(data_dir, tmp_path):
    shutil.copytree(data_dir / "cifar10", tmp_path / "cifar10")
    before = tfds.load("cifar10", "test", tmp_path).fingerprint
    assert tfds.load("cifar10", "test", tmp_path).fingerprint == before
    (written,) = tmp_path.rglob("dataset_info.json")
    os.utime(written, (1, 1))
    assert tfds.load("cifar10", "test", tmp_path).fingerprint != before


def test_an_unknown_tfds_split_or_set_is_named(data_dir, tmp_path):
    with pytest.raises(
        ValueError, match="no split 'dev'; choose one of .*test"
    ):
        tfds.load("cifar10", "dev", data_dir)
    with pytest.raises(ValueError, match="'cifar11'. Did you mean 'cifar10"):
        tfds.load("cifar11", "train", tmp_path)
    with pytest.raises(
        ValueError,
        match="imdb_reviews has 0 features .* Image; .* text \\(Text",
    ):
        tfds.load("imdb_reviews", "train", tmp_path)
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
    monkeypatch.setattr(tfds, "DOWNLOAD_RETRIES", 0)
    with pytest.raises(RuntimeError, match=HINTS[name]) as caught:
        tfds.load(name, "train", tmp_path)
    assert f"{name} is not in {tmp_path}" in str(caught.value)
    assert "tensorflow.org/datasets/catalog" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)
