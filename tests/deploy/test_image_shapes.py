"""One photo that is no square: the same answer by every route."""

import dataclasses
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import browser
import demo_pages
import samples
from efficientnet_tf.data import frames, shapes
from efficientnet_tf.data.sets import sources
from efficientnet_tf.deploy import export, formats, metadata, plan, runtimes
from efficientnet_tf.deploy.demo import server, site
from efficientnet_tf.deploy.server import images as images_lib
from efficientnet_tf.inference import classifier, explain
from efficientnet_tf.models import builder, variants
from transfer.training import inputs

SIZES = {"square": (32, 32), "wide": (32, 56)}
CASES = [(resize, name) for resize in shapes.RESIZES for name in SIZES]
# All formats write one and the same text of how images are prepared; one case
# takes the time to write files.
ALL_FORMATS = (shapes.LETTERBOX, "wide")
TOLERANCE = 1e-4

CLASSIFY = f"""
return (async (file) => {{
  const page = await import("./page.js");
  const prepare = await import("./prepare.js");
  const blob = new Blob([{demo_pages.READ_FILE}]);
  const {{ probabilities, map }} = await page.classify(blob);
  const settings = await (await fetch("classifier.json")).json();
  const {{ top, left, height, width }} =
    prepare.findSeen(70, 150, settings);
  return [[...probabilities], [map.height, map.width],
    [top, left, height, width]];
}})(...arguments);
"""


@pytest.fixture(scope="module")
def networks():
    """{name: a small network whose answers depend on where things are}."""
    row = variants.VARIANTS["efficientnet_lite0"]
    row = dataclasses.replace(
        row, width=0.25, stages=row.stages[:2], head_filters=64
    )
    made = {}
    for name, size in SIZES.items():
        keras.utils.set_random_seed(0)
        network = builder.build(row, classes=4, input_shape=(*size, 3))
        head = network.get_layer("predictions")
        noise = np.random.default_rng(0).normal(0, 40, head.kernel.shape)
        head.kernel.assign(noise)
        made[name] = network
    return made


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A wide PNG, another at each edge."""
    noise = np.random.default_rng(1).integers(0, 256, (5, 9, 3), np.uint8)
    path = tmp_path_factory.mktemp("photo") / "wide.png"
    picture = Image.fromarray(noise).resize((150, 70), Image.Resampling.BICUBIC)
    picture.save(path)
    return path


def make(networks, resize, name):
    height, width = SIZES[name]
    return classifier.Classifier(
        networks[name], samples.CLASS_NAMES, height, "bilinear", 0,
        resize=resize, width=width,
    )  # fmt: skip


def prepare_by_hand(photo, resize, size):
    """Returns what the network is to get, by slices and one resizing."""
    pixels = np.asarray(Image.open(photo), "float32")
    height, width = size
    if resize == "crop":  # 150 x 70 pixels: its height decides.
        columns = 70 * width // height
        left = (150 - columns + 1) // 2
        pixels = pixels[:, left : left + columns]
    if resize != "letterbox":
        return tf.image.resize(pixels, size).numpy()
    rows = round(70 * width / 150)
    top = (height - rows) // 2
    canvas = np.full((height, width, 3), 114, "float32")
    canvas[top : top + rows] = tf.image.resize(pixels, (rows, width))
    return canvas


def list_answers(made, photo, folder):
    """Yields (route, probabilities) of a photo."""
    encoded = photo.read_bytes()
    yield "predict", made.predict([photo])[0]
    made.save(folder / "run")
    yield "a run", classifier.from_run(folder / "run").predict([photo])[0]
    pixels = np.asarray(Image.open(photo))
    examples = sources.from_arrays(
        pixels[None], np.array([0]), made.class_names
    )
    ((images, _),) = inputs.make_eval_dataset(examples, made)
    yield "evaluation", made.model.predict_on_batch(images)[0]
    read = images_lib.make_reader(made, 10**6)(encoded, "")
    yield "the server", made.model.predict_on_batch(read[None])[0]


def list_exported(made, photo, folder):
    """Yields (format, probabilities) of a photo, of files that were opened."""
    names = [name for name, row in formats.FORMATS.items() if not row.layout]
    found = explain.class_activation_map(made, [str(photo)])
    yield "explain", found.probabilities[0]
    planned = plan.make_plan(folder / "out", names, ["float32"])
    export.export(made, planned)
    for target in planned.targets:
        opened = runtimes.load_classifier(target.path)
        assert opened.preparation == made.preparation
        yield target.path.name, opened.predict([photo])[0]
        if target.path.is_dir():
            signature = tf.saved_model.load(str(target.path)).signatures
            encoded = tf.constant([photo.read_bytes()])
            answer = signature["serving_bytes"](encoded=encoded)
            yield "bytes", answer["probabilities"].numpy()[0]


@pytest.mark.parametrize("resize,name", CASES)
def test_every_route_gives_the_answer_of_the_image_prepared_by_hand(
    networks, photo, tmp_path, resize, name
):
    made = make(networks, resize, name)
    image = prepare_by_hand(photo, resize, SIZES[name])
    expected = made.model.predict_on_batch(image[None])[0]
    # Another preparation gives another answer, or nothing is shown.
    for other in shapes.RESIZES:
        wrong = prepare_by_hand(photo, other, SIZES[name])
        found = made.model.predict_on_batch(wrong[None])[0]
        assert (np.abs(found - expected).max() > 0.01) == (other != resize)
    answers = list(list_answers(made, photo, tmp_path))
    text = metadata.to_text(made.settings, "float32")
    assert metadata.parse(text, "a file").preparation == made.preparation
    if (resize, name) == ALL_FORMATS:
        answers += list_exported(made, photo, tmp_path)
    for route, found in answers:
        np.testing.assert_allclose(
            found, expected, atol=TOLERANCE, err_msg=route
        )


def test_the_browser_gives_the_same_answer(networks, photo, tmp_path):
    made = make(networks, *ALL_FORMATS)
    expected = explain.class_activation_map(made, [str(photo)])
    demo_pages.require_packages()
    chromium = browser.find()
    if chromium is None:
        pytest.skip("needs Chromium and chromedriver")
    site.write(made, tmp_path / "site", title="t", examples=[])
    with server.bind(tmp_path / "site", 0) as bound:
        server.listen(bound)
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        with browser.start(*chromium) as page:
            page.open(f"http://127.0.0.1:{bound.server_port}/")
            demo_pages.wait(
                page, "return document.documentElement.dataset.ready"
            )
            encoded = demo_pages.encode(photo.read_bytes())
            probabilities, sides, seen = page.run(CLASSIFY, encoded)
        bound.shutdown()
    np.testing.assert_allclose(
        probabilities, expected.probabilities[0], atol=TOLERANCE
    )
    assert tuple(sides) == expected.maps.shape[1:]
    # 150 x 70 pixels lie 26 rows high in 32 x 56.
    scale = 150 / 56
    top, height = -3 * 70 / 26, 32 * 70 / 26
    np.testing.assert_allclose(seen, [top, 0, height, 56 * scale], atol=1e-6)
    wanted = frames.find_seen((70, 150), made.preparation)
    np.testing.assert_allclose(seen, wanted, atol=1e-6)
