"""The pages of several labels and of numbers, in a browser."""

import contextlib
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
from efficientnet_tf.deploy.demo import server, site
from efficientnet_tf.utils import targets

pytest.importorskip("ai_edge_litert")

SIZE = 32
READ = """
const text = (id) => document.getElementById(id).innerText;
return [
  text("answers-title"),
  [...document.querySelectorAll("#answers button")].map((button) =>
    [button.querySelector("span").textContent,
     button.querySelector("b").textContent, button.disabled]),
  text("left-out"), text("error"),
];
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of a few images."""
    pixels = samples.make_images(40, SIZE)[:12].astype("uint8")
    folder = tmp_path_factory.mktemp("images")
    for i, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def make():
    """Makes a classifier of a target, with a head as such ones have."""

    def make(target, activation, **fields):
        images = samples.make_images(40, SIZE)
        made = samples.make_classifier(images)
        head = made.model.get_layer("predictions")
        head.activation = keras.activations.linear
        outputs = np.asarray(made.model(images))
        # Spread around 0, where no probability is almost 0 or 1.
        head.kernel.assign(head.kernel / outputs.std())
        head.bias.assign((head.bias - outputs.mean(0)) / outputs.std())
        head.activation = keras.activations.get(activation)
        return dataclasses.replace(made, target=target, **fields)

    return make


@contextlib.contextmanager
def opened(classifier, folder):
    """Yields the classifier's page in a browser."""
    found = browser.find()
    if found is None:
        pytest.skip("needs Chromium and chromedriver")
    demo_pages.require_packages()
    site.write(classifier, folder, title="A page")
    with server.bind(folder, 0) as bound:
        server.listen(bound)
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        with browser.start(*found) as page:
            page.open(f"http://127.0.0.1:{bound.server_port}/")
            demo_pages.wait(
                page, "return document.documentElement.dataset.ready"
            )
            yield page
        bound.shutdown()


def show(page, path):
    page.run(
        'document.getElementById("result").hidden = true;' + demo_pages.PASTE,
        demo_pages.encode(path.read_bytes()),
        path.name,
    )
    demo_pages.wait(page, 'return !document.getElementById("result").hidden')
    return page.run(READ)


def predict(classifier, path):
    prepared = classifier.preprocess(tf.constant(path.read_bytes()))
    return np.asarray(classifier.model(prepared[None])[0])


def check_width(page):
    for width in (400, 1280):
        page.resize(width, 900)
        assert page.run("return document.documentElement.scrollWidth") <= width


def test_labels_are_those_of_python_by_their_thresholds(make, files, tmp_path):
    plain = make(targets.LABELS, "sigmoid")
    # Of the second image no label reaches its threshold, of the first one some.
    found = sorted(((predict(plain, path), path) for path in files),
                   key=lambda pair: pair[0][0])  # fmt: skip
    (second, second_path), (first, first_path) = found[0], found[-1]
    limits = tuple((second + 0.02).tolist())
    assert (first >= limits).any()
    made = dataclasses.replace(plain, thresholds=limits)
    with opened(made, tmp_path / "page") as page:
        for path, wanted in ((first_path, first), (second_path, second)):
            title, answers, _, error = show(page, path)
            assert not error
            shown = {
                name.removeprefix("✓ "): (name[0] == "✓", float(share[:-2]))
                for name, share, _ in answers
            }
            order = np.argsort(-wanted)
            names = [made.class_names[i] for i in order]
            assert list(shown) == names
            for i, name in zip(order, names, strict=True):
                assert shown[name][0] == (wanted[i] >= limits[i])
                assert shown[name][1] == pytest.approx(
                    100 * wanted[i], abs=0.06
                )
            assert title == (
                "Labels: ✓ the image has it"
                if wanted is first
                else "The image has none of them"
            )
        # Each label has a map, which is called one.
        assert not any(disabled for *_, disabled in answers)
        choice = demo_pages.read(page, "map-choice")
        assert "speaks for the label" in choice
        check_width(page)


@pytest.mark.slow  # Labels are above.
def test_numbers_are_those_of_python_in_their_own_order(make, files, tmp_path):
    made = make(targets.NUMBERS, "linear")
    path = files[0]
    wanted = predict(made, path)
    with opened(made, tmp_path / "page") as page:
        title, answers, left_out, error = show(page, path)
        assert (title, left_out, error) == ("Numbers", "", "")
        assert [name for name, *_ in answers] == list(made.class_names)
        found = [float(value) for _, value, _ in answers]
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
        check_width(page)
