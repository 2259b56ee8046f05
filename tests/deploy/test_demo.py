"""The page, in a browser: it prepares, predicts and maps as Python does."""

import dataclasses
import http.server
import io
import json
import threading
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import browser
import demo_pages
import samples
from efficientnet_tf.data import preprocessing
from efficientnet_tf.data.augment import policies
from efficientnet_tf.deploy import sample_files
from efficientnet_tf.deploy.demo import packages, server, site
from efficientnet_tf.inference import explain
from efficientnet_tf.models import variants

pytest.importorskip("ai_edge_litert")

SIZE = 32
TAB, ENTER, SPACE = "\ue004", "\ue007", " "
# A browser decodes these otherwise, and the page says so.
NOTED = {
    "a palette PNG": "transparent",
    "a transparent WebP": "transparent",
    "a PNG of 16 bits": "upper 8",
}

CLASSIFY = f"""
return (async (file, size) => {{
  const page = await import("./page.js");
  const heat = await import("./heat.js");
  const blob = new Blob([{demo_pages.READ_FILE}]);
  const {{ probabilities, map }} = await page.classify(blob);
  const best = probabilities.indexOf(Math.max(...probabilities));
  return [[...probabilities], [...heat.greyLevels(map, best, size, size)]];
}})(...arguments);
"""
PREPARE = f"""
return (async (file, cases) => {{
  const {{ decode, prepare }} = await import("./prepare.js");
  const bitmap = await decode(new Blob([{demo_pages.READ_FILE}]));
  return cases.map((settings) => [...prepare(bitmap, settings).input]);
}})(...arguments);
"""
SENDS = """
return (async (address) => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    refused.push(event.effectiveDirective);
  });
  await fetch(address, { mode: "no-cors" }).catch(() => {});
  const image = new Image();
  image.src = address;
  const script = document.createElement("script");
  script.src = address;
  document.body.append(image, script);
  try { navigator.sendBeacon(address, "pixels"); } catch {}
  await new Promise((resolve) => setTimeout(resolve, 300));
  return refused.sort();
})(...arguments);
"""


def make_files():
    """Returns 50 images as people have them: {name: bytes}."""
    made = sample_files.make(SIZE)
    draw = np.random.default_rng(0)
    for i in range(50 - len(made) + len(NOTED)):
        sides = draw.integers(20, 90, 2)
        coarse = draw.integers(0, 256, (4, 5, 3), np.uint8)
        image = Image.fromarray(coarse).resize(sides, Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[274] = i % 8 + 1  # The orientation.
        file = io.BytesIO()
        image.save(file, "JPEG", exif=exif)
        made[f"JPEG {i}"] = file.getvalue()
    return made


@pytest.fixture(scope="module")
def original():
    return samples.make_classifier(samples.make_images(40, SIZE))


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    """The page's folder, with one example."""
    demo_pages.require_packages()
    folder = tmp_path_factory.mktemp("demo")
    example = folder / "photo.jpg"
    example.write_bytes(sample_files.make(SIZE)["a turned JPEG"])
    written = site.write(
        original, folder / "site", title="<Cats> & {footer}", examples=[example]
    )
    assert written == site.Site(activation_map=True, examples=1)
    return folder / "site"


@pytest.fixture(scope="module")
def served(folder):
    """The page's address."""
    with server.bind(folder, 0) as bound:
        server.listen(bound)
        threading.Thread(target=bound.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{bound.server_port}/"
        bound.shutdown()


@pytest.fixture(scope="module")
def page(served):
    found = browser.find()
    if found is None:
        pytest.skip("needs Chromium and chromedriver")
    with browser.start(*found) as page:
        page.open(served)
        demo_pages.wait(page, "return document.documentElement.dataset.ready")
        yield page


def test_predictions_and_maps_of_50_images_are_those_of_python(page, original):
    made = {k: v for k, v in make_files().items() if k not in NOTED}
    assert len(made) == 50
    images = np.stack(
        [original.preprocess(tf.constant(data)) for data in made.values()]
    )
    expected = explain.class_activation_map(original, images)
    assert len(set(expected.classes)) > 1
    scaled = explain.scale_maps(expected.maps)
    levels = np.rint(255 * explain.resize_maps(scaled, (SIZE, SIZE)))
    assert levels.std() > 20
    rows = zip(made, expected.probabilities, levels, strict=True)
    for name, wanted, grey in rows:
        probabilities, found = page.run(
            CLASSIFY, demo_pages.encode(made[name]), SIZE
        )
        assert np.argmax(probabilities) == np.argmax(wanted), name
        assert np.abs(np.array(probabilities) - wanted).max() < 1e-4, name
        found = np.reshape(found, (SIZE, SIZE))
        assert np.abs(found - grey).max() <= 2, name


@pytest.mark.parametrize(
    "method",
    dict.fromkeys((*variants.INTERPOLATIONS, *policies.INTERPOLATIONS)),
)
def test_images_are_resized_as_tensorflow_does(page, method):
    pixels = np.random.default_rng(0).integers(0, 256, (97, 61, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    cases = [
        {
            "resolution": height,
            "width": width,
            "resize": resize,
            "crop_padding": padding,
            "interpolation": method,
        }
        for height, width, resize, padding in (
            (32, 32, "squash", None),
            (32, 32, "crop", 0),
            (80, 80, "crop", 32),
            (45, 45, "crop", 7),
            (30, 48, "crop", 7),
            (48, 30, "squash", None),
            (48, 30, "letterbox", None),
            (30, 30, "letterbox", None),
        )
    ]
    rows = page.run(PREPARE, demo_pages.encode(file.getvalue()), cases)
    for case, row in zip(cases, rows, strict=True):
        wanted = preprocessing.preprocess_for_eval(
            tf.constant(pixels),
            (case["resolution"], case["width"]),
            interpolation=method,
            resize=case["resize"],
            crop_padding=case["crop_padding"],
        )
        found = np.reshape(row, wanted.shape)
        assert np.abs(found - wanted).max() < 0.01, case


def test_nothing_leaves_the_origin(page, served):
    """Whatever the page might try, another server hears nothing."""
    asked = page.run(
        'return performance.getEntriesByType("resource").map((e) => e.name)'
    )
    assert len(asked) > 8
    # The icon is empty and stands in the page.
    others = [name for name in asked if not name.startswith((served, "data:"))]
    assert not others
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{other.server_port}/pixels"
        refused = page.run(SENDS, address)
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
        other.shutdown()
    assert heard == ["/pixels"]  # Ours, which shows that it hears.
    assert refused == [
        "connect-src", "connect-src", "img-src", "script-src-elem"
    ]  # fmt: skip
    assert page.run("return crossOriginIsolated")


def test_people_choose_by_keyboard_and_see_what_speaks_for_a_class(
    page, served, original
):
    page.open(served)
    demo_pages.wait(page, "return document.documentElement.dataset.ready")
    assert page.run("return document.title") == "<Cats> & {footer}"
    focused = 'return document.activeElement.closest("#examples") !== null'
    for _ in range(6):
        page.type(TAB)
        if page.run(focused):
            break
    page.type(ENTER)
    demo_pages.wait(page, 'return !document.getElementById("result").hidden')
    names = page.run(
        'return [...document.querySelectorAll("#answers span")]'
        ".map((e) => e.textContent)"
    )
    assert sorted(names) == sorted(original.class_names)
    picture = 'return document.getElementById("picture").toDataURL()'
    pictures = {page.run(picture)}
    # The example has 97 x 65 pixels, turned: too few to see anything.
    size = 'const { width, height } = document.getElementById("picture");'
    assert page.run(f"{size} return [width, height]") == [130, 194]
    pressed = 'return document.querySelector("[aria-pressed=true] span")'
    assert page.run(f"{pressed}.textContent") == names[0]
    page.run('document.getElementById("show-map").focus()')
    page.type(SPACE)
    pictures.add(page.run(picture))
    page.type(TAB, TAB, ENTER)  # The second class.
    assert page.run(f"{pressed}.textContent") == names[1]
    pictures.add(page.run(picture))
    assert len(pictures) == 3
    assert "thread" in demo_pages.read(page, "time")


def test_what_a_browser_reads_otherwise_is_said(page):
    made = sample_files.make(SIZE)
    for name, words in NOTED.items():
        page.run(demo_pages.PASTE, demo_pages.encode(made[name]), name)
        demo_pages.wait(
            page,
            'return document.getElementById("note").textContent'
            f'.includes("{words}")',
        )
        assert demo_pages.read(page, "error") == ""
    page.run(demo_pages.PASTE, demo_pages.encode(made["a PNG"]), "plain.png")
    demo_pages.wait(page, 'return !document.getElementById("note").textContent')
    for data in (b"no image", b"", made["a PNG"][:40]):
        page.run(demo_pages.PASTE, demo_pages.encode(data), "broken <b>.png")
        demo_pages.wait(
            page, 'return document.getElementById("error").textContent'
        )
        assert demo_pages.read(page, "error") == (
            "broken <b>.png: no image that this browser can read."
        )
        assert page.run('return document.getElementById("result").hidden')
        page.run('document.getElementById("error").textContent = ""')


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_page(page, width, scheme):
    page.run(
        demo_pages.PASTE,
        demo_pages.encode(sample_files.make(SIZE)["a PNG"]),
        "plain.png",
    )
    demo_pages.wait(page, 'return !document.getElementById("result").hidden')
    page.resize(width, 900)
    page.prefer(scheme)
    assert page.run("return document.documentElement.scrollWidth") <= width
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == {
        "light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"
    }[scheme]  # fmt: skip


def test_the_folder_is_complete_and_replaced_whole(folder, original, tmp_path):
    assert (folder / "litert" / site.LICENCE).read_text().count("Apache") > 3
    for package in packages.PACKAGES:
        installed = folder / "litert" / package.folder
        found = json.loads((installed / "package.json").read_text())
        assert (found["name"], found["version"], found["license"]) == (
            package.name, package.version, "Apache-2.0",
        )  # fmt: skip
        assert {
            path.relative_to(installed).as_posix()
            for path in installed.rglob("*")
            if path.is_file()
        } == set(package.members)
    settings = json.loads((folder / site.CLASSIFIER_FILE).read_text())
    assert settings.pop("examples") == ["examples/1.png"]
    wanted = dataclasses.asdict(original.settings)
    assert settings == json.loads(json.dumps(wanted))
    with Image.open(folder / "examples" / "1.png") as example:
        assert example.size[0] < example.size[1] and not example.getexif()
    site.check_replaceable(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match="something other than such"):
        site.write(original, other, title="x")
    assert [path.name for path in other.iterdir()] == ["index.html"]
    with pytest.raises(OSError, match="none.png"):
        site.write(original, folder, title="x", examples=["none.png"])
    assert "Cats" in (folder / "index.html").read_text()
    left = [path.name for path in folder.parent.iterdir()]
    assert sorted(left) == ["photo.jpg", "site"]
