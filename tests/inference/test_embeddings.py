import csv

import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.inference import embeddings

FEATURES = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")


def _write(folder, skipped=()):
    with embeddings.writing(folder, len(FEATURES)) as writer:
        for i, features in enumerate(FEATURES):
            if i in skipped:
                writer.skip()
                continue
            row = {"path": f"{i}\t.jpg", "predicted": "=a", "probability": 0.5}
            pixels = np.full((20, 60, 3), 50 * i, "uint8")
            wanted = writer.wants_picture
            writer.add(features, row, pixels if wanted else None)
    return writer


@pytest.mark.parametrize("skipped", [(), (0,), (1, 4)])
def test_the_array_and_the_table_have_a_row_for_each_readable_image(
    tmp_path, skipped
):
    _write(tmp_path, skipped)
    rest = [i for i in range(5) if i not in skipped]
    array = np.load(tmp_path / embeddings.FEATURES_FILE, mmap_mode="r")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, FEATURES[rest])
    with (tmp_path / embeddings.TABLE_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"{i}\t.jpg" for i in rest]
    assert {row["class"] for row in rows} == {""}


def test_the_projector_shows_images_from_all_over_the_set(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(embeddings, "MOST_SHOWN", 3)
    writer = _write(tmp_path)
    assert writer.shown == 3
    shown = FEATURES[[0, 1, 3]]
    data = np.fromfile(tmp_path / embeddings.TENSOR_FILE, "float32")
    np.testing.assert_array_equal(data.reshape(3, 7), shown)
    lines = (tmp_path / embeddings.LABELS_FILE).read_text().splitlines()
    # A tab in a name would be another column.
    assert [line.count("\t") for line in lines] == [3] * 4
    with Image.open(tmp_path / embeddings.SPRITE_FILE) as sprite:
        assert sprite.size == (2 * 48, 2 * 48)
        centres = [sprite.getpixel((24, 24)), sprite.getpixel((72, 24))]
        assert centres == [(0, 0, 0), (50, 50, 50)]
        assert sprite.getpixel((24, 72)) == (150, 150, 150)
        assert sprite.getpixel((24, 2)) == (128, 128, 128)  # Above the image.


def test_tensorboard_reads_the_projectors_files(tmp_path):
    plugin = pytest.importorskip("tensorboard.plugins.projector")
    from google.protobuf import text_format
    from tensorboard.plugins.projector import projector_plugin

    _write(tmp_path)
    config = plugin.ProjectorConfig()
    path = tmp_path / embeddings.PROJECTOR_FILE
    text_format.Parse(path.read_text(), config)
    (found,) = config.embeddings
    array = projector_plugin._read_tensor_binary_file(
        tmp_path / found.tensor_path, list(found.tensor_shape)
    )
    np.testing.assert_array_equal(array, FEATURES)
    assert list(found.sprite.single_image_dim) == [48, 48]
    for name in (found.metadata_path, found.sprite.image_path):
        assert (tmp_path / name).exists()


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        with embeddings.writing(tmp_path, 5) as writer:
            writer.add(FEATURES[0], {"path": "a"}, None)
            raise RuntimeError
    assert not list(tmp_path.iterdir())
