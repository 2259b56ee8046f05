"""Images of 16 bits a sample: scaled as a network's setting says, and told."""

import functools
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import image_files
from efficientnet_tf.data import datasets, preprocessing, remote
from efficientnet_tf.data.images import decoding, pillow_files
from efficientnet_tf.data.sets import damaged_files, sources

SIDE = 16
# Twelve bits of sixteen, as cameras and microscopes write them.
SAMPLES = np.linspace(0, 4095, SIDE * SIDE).astype("uint16")
SAMPLES = SAMPLES.reshape(SIDE, SIDE, 1)
EXPECTED = {"used": SAMPLES >> 4, "full": SAMPLES >> 8}
NOTES = {"used": "the bits that each one uses", "full": "by all 16 bits"}

FILES = {
    "grey PNG": image_files.make_png(SAMPLES, 16, image_files.GREY),
    "RGB PNG": image_files.make_png(
        SAMPLES.repeat(3, axis=-1), 16, image_files.RGB
    ),
    "interlaced PNG": image_files.make_png(
        SAMPLES, 16, image_files.GREY, interlaced=True
    ),
    "TIFF": image_files.encode(Image.fromarray(SAMPLES[..., 0]), "TIFF"),
}
PLAIN = image_files.encode(image_files.make_picture(SIDE, SIDE), "PNG")


@pytest.fixture(autouse=True)
def notes(monkeypatch, caplog):
    """Returns a function that lists what was said of 16 bits in this test."""
    monkeypatch.setattr(pillow_files, "_noted", set())
    caplog.set_level(logging.INFO, "absl")
    return lambda: [
        message
        for message in caplog.messages
        if "16 bits a sample are scaled" in message
    ]


def _prepare_for_eval(image, deep_pixels):
    return preprocessing.preprocess_for_eval(
        image, SIDE, crop_padding=0, deep_pixels=deep_pixels
    )


def _prepare_for_train(image, seed, deep_pixels, **options):
    return preprocessing.preprocess_for_train(
        image, SIDE, flip=False, deep_pixels=deep_pixels, seed=seed, **options
    )


def _evaluate(examples, deep_pixels, _):
    return datasets.make_eval_dataset(
        examples,
        functools.partial(_prepare_for_eval, deep_pixels=deep_pixels),
        batch_size=examples.size,
    )


def _train(examples, deep_pixels, _):
    return datasets.make_epochs_dataset(
        examples,
        functools.partial(
            _prepare_for_train, deep_pixels=deep_pixels, min_area=1.0
        ),
        batch_size=examples.size,
        seed=0,
    ).take(1)


def _read(_, deep_pixels, paths):
    images = [
        _prepare_for_eval(decoding.read_image(path, deep_pixels), "used")
        for path in paths
    ]
    yield np.stack(images), np.arange(len(paths))


@pytest.mark.parametrize(
    ("route", "deep_pixels"),
    [
        (_evaluate, "used"),
        (_evaluate, "full"),
        (_train, "full"),
        (_read, "used"),
    ],
)
def test_every_route_scales_as_it_is_told_and_says_so_once(
    tmp_path, notes, route, deep_pixels
):
    # The first images, which training looks at, are plain.
    files = [PLAIN, PLAIN, *FILES.values()]
    paths = [tmp_path / f"{number}" for number in range(len(files))]
    for path, encoded in zip(paths, files, strict=True):
        path.write_bytes(encoded)
    columns = (tf.constant(files), tf.range(len(files), dtype="int64"))
    names = tuple(map(str, range(len(files))))
    source = sources.examples_lib.Indexed(columns, lambda *row: row)
    examples = sources.examples_lib.Examples(source, names, "")
    ((images, labels),) = route(examples, deep_pixels, paths)
    for image, label in zip(np.asarray(images), labels, strict=True):
        if files[label] != PLAIN:
            wanted = EXPECTED[deep_pixels].repeat(3, axis=-1)
            np.testing.assert_array_equal(image, wanted)
    (note,) = notes()
    assert NOTES[deep_pixels] in note


@pytest.mark.parametrize("options", [{}, {"min_area": 1}, {"resize": SIDE}])
@pytest.mark.parametrize("name", ["grey PNG", "TIFF"])
def test_each_kind_of_training_crop_scales_as_it_is_told(name, options):
    encoded = tf.constant(FILES[name])
    pixels = np.repeat(EXPECTED["full"].astype("uint8"), 3, axis=-1)
    found = _prepare_for_train(encoded, (1, 2), "full", **options)
    expected = _prepare_for_train(
        tf.constant(pixels), (1, 2), "full", **options
    )
    np.testing.assert_array_equal(found, expected)
    assert found.numpy().max() < 16  # Of 12 bits, 16 levels are left.


# EXIF data of orientation 6 in a PNG's text, as ImageMagick writes them.
_EXIF = image_files.make_exif(6).tobytes()
_TEXT = b"Raw profile type exif\0\nexif\n%8d\n" % len(_EXIF)
HIDDEN = (b"tEXt", _TEXT + _EXIF.hex().encode())


@pytest.mark.parametrize("deep_pixels", ["used", "full"])
def test_a_png_with_its_exif_in_a_text_keeps_its_bits(
    tmp_path, notes, deep_pixels
):
    graph = tf.function(
        functools.partial(decoding.decode, deep_pixels=deep_pixels),
        input_signature=[tf.TensorSpec([], "string")],
    )
    # Samples, what sBIT says of them, and the bits that are shifted away.
    for samples, said, shift in (
        (SAMPLES, None, 4),
        (SAMPLES, 12, 4),
        (SAMPLES >> 1, 12, 4),  # A dark image.
        (SAMPLES << 4, 12, 8),
        (SAMPLES << 2, None, 6),
    ):
        shift = 8 if deep_pixels == "full" else shift
        expected = np.rot90(samples >> shift, -1).repeat(3, axis=-1)
        for kind, bands in image_files.CHANNELS.items():
            if kind == image_files.PALETTE:
                continue
            sbit = [(b"sBIT", bytes([said] * bands))] if said else []
            encoded = image_files.make_png(
                samples.repeat(bands, axis=-1), 16, kind, [*sbit, HIDDEN]
            )
            (tmp_path / "x.png").write_bytes(encoded)
            for found in (
                graph(encoded),
                decoding.decode(tf.constant(encoded), deep_pixels),
                decoding.read_image(tmp_path / "x.png", deep_pixels),
            ):
                np.testing.assert_array_equal(found, expected, f"{kind} {said}")
    (note,) = notes()
    assert NOTES[deep_pixels] in note
    with pytest.raises(tf.errors.InvalidArgumentError, match="truncated PNG"):
        decoding.decode(tf.constant(encoded[:-99]))
    (tmp_path / "x.png").write_bytes(encoded[:-99])
    with pytest.raises(OSError, match="x.png is a damaged or truncated PNG"):
        decoding.read_image(tmp_path / "x.png")


def test_nothing_is_said_of_8_bits_nor_while_files_are_checked(tmp_path, notes):
    for name, encoded in FILES.items():
        (tmp_path / name).write_bytes(encoded)
    good, bad = damaged_files.examine(tmp_path, list(tmp_path.iterdir()))
    assert len(good) == len(FILES) and not bad
    _prepare_for_eval(tf.constant(PLAIN), "used")
    assert notes() == []


def test_a_graph_for_other_processes_calls_no_python():
    spec = [tf.TensorSpec([], "string"), tf.TensorSpec([2], "int64")]

    def prepare(image, seed):
        return _prepare_for_train(image, seed, "used")

    def find_python(function):
        graph = tf.function(function, input_signature=spec)
        text = str(graph.get_concrete_function().graph.as_graph_def())
        return "PyFunc" in text

    assert find_python(prepare)
    assert not find_python(remote.without_python(prepare))
    encoded = tf.constant(FILES["RGB PNG"])
    expected = prepare(encoded, tf.constant([3, 4], "int64"))
    found = remote.without_python(prepare)(encoded, tf.constant([3, 4]))
    np.testing.assert_array_equal(found, expected)


def _explain(*files):
    columns = (tf.constant(files), tf.zeros(len(files), "int64"))
    names = [f"{number}.png" for number in range(len(files))]
    source = sources.examples_lib.Indexed(columns, lambda *row: row, names)
    examples = sources.examples_lib.Examples(source, ("a",), "")
    prepare = functools.partial(_prepare_for_train, deep_pixels="used")
    return remote.explain_lost(examples, prepare, len(files) - 1)


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        (FILES["TIFF"], "1.png is a TIFF, which the workers of a data service"),
        (image_files.make_bmps()["palette 4"], "1.png is a BMP with a palette"),
        (image_files.make_webps()["animated"], "1.png is an animated WebP"),
        (
            image_files.encode(image_files.make_picture(), "PPM"),
            "1.png is a Netpbm",
        ),
        (FILES["RGB PNG"], ""),
        (PLAIN[:60], ""),  # Damaged, wherever it is read.
        (b"words", ""),
    ],
)
def test_what_a_services_workers_cannot_decode_is_named(encoded, what):
    found = _explain(PLAIN, encoded)
    assert found.startswith(what) and bool(found) == bool(what)
