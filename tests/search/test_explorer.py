"""The explorer: its data come from the tables, its numbers match Python's."""

import dataclasses
import json
import random
import re
import subprocess
import sys

import pytest

import browser
import paths
from efficientnet_tf.measure import cost_charts
from efficientnet_tf.models import costs, scaling, variants
from efficientnet_tf.search.explorer import explorer

# WebDriver's names of keys.
TAB, RIGHT, SPACE = "\ue004", "\ue014", " "
NAMED = tuple(explorer.page_data()["named"])

# In an input's value, as people type it.
SET_FIELD = """
const input = document.getElementById(arguments[0]);
input.value = arguments[1] ?? "";
input.dispatchEvent(new Event("input"));
"""
READ_TOTALS = """
const value = (id) => Number(document.getElementById(id).dataset.value);
return ["params", "multiply_adds", "activations"].map(value);
"""


# What of the plot a label stands on, or is cut by.
FIND_CROSSED = """
const svg = document.querySelector("#plot svg");
const whole = svg.getBoundingClientRect();
const labels = [...svg.querySelectorAll(".label")].map((node) => {
  const { x, y, width, height } = node.getBBox();
  // The letters' height, not that of the line of text.
  return { text: node.textContent, left: x, right: x + width,
           top: y + 0.25 * height, bottom: y + 0.8 * height };
});
const points = [];
for (const line of svg.querySelectorAll("path, [stroke-dasharray]")) {
  const length = line.getTotalLength();
  for (let at = 0; at <= length; at += 0.5) {
    points.push(line.getPointAtLength(at));
  }
}
for (const dot of svg.querySelectorAll("circle")) {
  points.push({ x: dot.cx.baseVal.value, y: dot.cy.baseVal.value });
}
const holds = (box, x, y) => x > box.left && x < box.right
  && y > box.top && y < box.bottom;
const found = labels.filter((box, i) =>
  box.left < 0 || box.right > whole.width || box.top < 0
  || box.bottom > whole.height
  || points.some(({ x, y }) => holds(box, x, y))
  || labels.some((other, j) => i !== j && box.left < other.right
    && other.left < box.right && box.top < other.bottom
    && other.top < box.bottom));
return [found.map((box) => box.text), labels.map((box) => box.text)];
"""
BACK = """
return new Promise((resolve) => {
  window.addEventListener("popstate", () => resolve(true), { once: true });
  history.back();
});
"""
# The page's state: its network, its plot's axis, and what it says.
READ_STATE = """
const shown = document.querySelector("[name=axis]:checked").value;
return [location.hash, Number(document.getElementById("params").dataset.value),
        shown, document.getElementById("address").textContent];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page in a browser, opened from a file."""
    found = browser.find()
    if found is None:
        pytest.skip("needs Chromium and chromedriver")
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    explorer.write(path)
    with browser.start(*found) as page:
        page.path = path
        yield page


@pytest.fixture
def fresh(page):
    page.open(page.path)
    page.resize(1200, 900)
    return page


def make_settings(number):
    """Returns random settings of the page, with a few at the corners."""
    draw = random.Random(0)
    found = []
    for i in range(number):
        coefficients = {
            name: round(draw.uniform(1, 1.4), 2)
            for name in ("alpha", "beta", "gamma")
        }
        phi = round(draw.uniform(-1, 8), 2)
        found.append(
            {
                "family": draw.choice(list(explorer.FAMILIES)),
                "phi": round(phi) if i % 4 == 0 else phi,
                # The paper's, where repeats come out near whole numbers.
                **({} if i % 3 == 0 else coefficients),
                "resolution": draw.choice([None, draw.randint(32, 1024)]),
            }
        )
    return found


def count(settings):
    """Returns Python's costs of settings of the page."""
    base, _ = explorer.FAMILIES[settings["family"]]
    fields = {k: settings[k] for k in settings if k not in ("family",)}
    resolution = fields.pop("resolution")
    return costs.count_costs(scaling.compound(base=base, **fields), resolution)


def test_the_command_writes_the_page(tmp_path):
    path = tmp_path / "explorer.html"
    program = [sys.executable, "-m", "efficientnet_tf", "explore"]
    subprocess.run([*program, f"--output={path}"], cwd=paths.ROOT, check=True)
    assert path.read_text(encoding="utf-8") == explorer.render()


def test_the_page_is_complete():
    """Every part is filled in, and the element that view.js asks for exists."""
    page = explorer.render()
    assert not re.findall(r"^\{\w+\}$", page, re.MULTILINE)
    ids = set(re.findall(r'id="([\w-]+)"', page))
    assert set(re.findall(r'byId\("([\w-]+)"\)', page)) <= ids
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")


def test_a_variant_file_is_a_family_of_the_page(tmp_path):
    path = tmp_path / "found.json"
    path.write_text('{"base": "efficientnet_b0", "width": 0.5}')
    data = explorer.page_data([str(path), "mobilenet_v2"])
    assert list(data["families"]) == [
        "B",
        "Lite",
        "V2",
        "found",
        "mobilenet_v2",
    ]
    assert data["families"]["found"]["width"] == 0.5
    stages = data["families"]["mobilenet_v2"]["stages"]
    assert [stage["filters"] for stage in stages][:2] == [16, 24]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["resnet50"], "of MBConv blocks; resnet50 has bottleneck blocks"),
        (["a/mobilenet_v2", "b0"], "Unknown model"),
        (["mobilenet_v2", "mobilenet_v2"], "called 'mobilenet_v2'"),
    ],
)
def test_what_the_page_cannot_scale_is_refused(models, message):
    with pytest.raises(ValueError, match=message):
        explorer.page_data(models)


def test_a_file_has_pythons_numbers_in_the_browser(tmp_path):
    found = browser.find()
    if found is None:
        pytest.skip("needs Chromium and chromedriver")
    path = tmp_path / "found.json"
    path.write_text('{"base": "efficientnet_b0", "width": 0.5, "depth": 1.5}')
    explorer.write(tmp_path / "page.html", [str(path)])
    with browser.start(*found) as page:
        page.open(tmp_path / "page.html")
        page.run(
            "document.querySelector('[name=family][value=found]').click();"
        )
        shown = page.run(READ_TOTALS)
    counted = costs.count_costs(path)
    assert shown == [counted.params, counted.multiply_adds, counted.activations]


def test_the_page_needs_no_other_file():
    page = explorer.render()
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    # An empty icon, so that browsers do not ask for one, and a link to follow.
    assert addresses == ["data:,", "https://arxiv.org/abs/1905.11946"]
    for loader in ("@import", "url(", "fetch(", "XMLHttp", "import("):
        assert loader not in page


def test_the_page_holds_the_tables():
    page = explorer.render()
    text = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    data = json.loads(text)
    assert tuple(data["named"]) == NAMED
    apart = {"S", "M", "L", "XL"}  # Not scaled from a family's base.
    assert set(variants.VARIANTS) - set(NAMED) == {
        f"efficientnet_v2_{size.lower()}" for size in apart
    }
    labels = [row["label"] for row in data["points"]]
    points = cost_charts.accuracy_points().values()
    assert labels == [row[0] for rows in points for row in rows]
    b7 = next(row for row in data["points"] if row["label"] == "B7")
    # Table 2's accuracy, torchvision's parameters.
    assert (b7["top1"], b7["params"]) == (84.3, 66.34796)


@pytest.mark.parametrize(
    ("name", "phi"),
    # The mean of docs/scaling.md's last three columns.
    [
        ("efficientnet_b0", 0),
        ("efficientnet_b2", 1.0),
        ("efficientnet_b7", 6.8),
    ],
)
def test_named_variants_are_marked_at_their_mean_phi(name, phi):
    data = explorer.page_data()
    assert data["named"][name]["phi"] == pytest.approx(phi, abs=0.06)


def test_100_random_settings_give_the_numbers_of_python(fresh):
    for settings in make_settings(100):
        chosen = {**settings, "named": None}
        reset = {"alpha": scaling.ALPHA, "beta": scaling.BETA}
        reset |= {"gamma": scaling.GAMMA, "resolution": None}
        stages = fresh.run(
            "change({...arguments[1], ...arguments[0]});"
            "return countStages(makeVariant(settings));",
            chosen,
            reset,
        )
        expected = count(settings)
        rows = [dataclasses.asdict(stage) for stage in expected.stages]
        assert stages == rows, settings
        totals = [expected.params, expected.multiply_adds, expected.activations]
        assert fresh.run(READ_TOTALS) == totals, settings


@pytest.mark.parametrize("name", NAMED)
def test_a_named_variant_has_its_published_coefficients(fresh, name):
    family = explorer.page_data()["named"][name]["family"]
    fresh.run(f"document.querySelector('[value={family}]').click()")
    fresh.run(f"document.querySelector('[data-name={name}]').click()")
    expected = costs.count_costs(name)
    assert fresh.run(READ_TOTALS)[:2] == [
        expected.params,
        expected.multiply_adds,
    ]
    pressed = (
        "return document.querySelector('[aria-pressed=true]').dataset.name"
    )
    assert fresh.run(pressed) == name


def test_fields_and_the_slider_change_the_network(fresh):
    fresh.run(SET_FIELD, "phi", "1")
    fresh.run(SET_FIELD, "alpha", "1.3")
    fresh.run(SET_FIELD, "resolution", "300")
    settings = {"family": "B", "phi": 1, "alpha": 1.3, "resolution": 300}
    assert fresh.run(READ_TOTALS)[1] == count(settings).multiply_adds
    fresh.run(SET_FIELD, "slider", "2.5")
    assert fresh.run("return document.getElementById('phi').value") == "2.5"
    fresh.run(SET_FIELD, "resolution", None)
    settings |= {"phi": 2.5, "resolution": None}
    assert fresh.run(READ_TOTALS)[1] == count(settings).multiply_adds


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("alpha", "0.9", "α, depth: must be a number from 1 to 2."),
        ("phi", "", "must be a number from -4 to 12"),
        ("resolution", "31", "must be a whole number from 32 to 4096"),
        ("resolution", "224.5", "must be a whole number"),
    ],
)
def test_a_bad_value_is_told_and_changes_nothing(fresh, field, value, message):
    before = fresh.run(READ_TOTALS)
    fresh.run(SET_FIELD, field, value)
    told = "return document.getElementById('error').textContent"
    assert message in fresh.run(told)
    assert fresh.run(READ_TOTALS) == before
    fresh.run("document.getElementById('reset').click()")
    if field != "phi":
        assert fresh.run(told) == ""


def test_a_phi_that_leaves_too_few_pixels_is_told(fresh):
    fresh.run(SET_FIELD, "gamma", "2")
    fresh.run(SET_FIELD, "phi", "-4")
    told = fresh.run("return document.getElementById('error').textContent")
    assert told == (
        "φ gives 14 pixels and the network strides by 32: choose a larger φ."
    )


def test_coefficients_that_break_the_constraint_are_told(fresh):
    read = "return document.getElementById('constraint').textContent"
    assert "= 1.920 ≈ 2" in fresh.run(read)
    fresh.run(SET_FIELD, "beta", "1.3")
    assert "= 2.682, not ≈ 2 as the paper asks" in fresh.run(read)


def test_the_current_network_stands_on_the_plot(fresh):
    read = "return document.getElementById('plot-note').textContent"
    assert "B0: 0.39 billion multiply-adds, published" in fresh.run(read)
    fresh.run(SET_FIELD, "phi", "2")
    # Between B3 (81.6) and B4 (82.9).
    (top1,) = re.findall(r"\((\d+\.\d) %\): a guess", fresh.run(read))
    assert 81.6 <= float(top1) <= 82.9
    fresh.run("document.querySelector('[value=params]').click()")
    assert "million parameters. The ring" in fresh.run(read)
    fresh.run(SET_FIELD, "phi", "12")
    assert "beyond the published" in fresh.run(read)


def test_the_keyboard_is_enough(fresh):
    active = "return document.activeElement.id"
    fresh.type(TAB, TAB, TAB)  # The link, the family, the slider.
    assert fresh.run(active) == "slider"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert fresh.run(outline) == "solid"
    fresh.type(RIGHT, RIGHT)
    assert fresh.run("return settings.phi") == 0.1
    order = []
    for _ in range(5):
        fresh.type(TAB)
        order.append(fresh.run(active))
    assert order == ["phi", "alpha", "beta", "gamma", "resolution"]
    fresh.type("3", "0", "0")
    assert fresh.run("return settings.resolution") == 300
    fresh.type(TAB, TAB, SPACE)  # B1's button, which keeps the focus.
    assert fresh.run("return settings.named") == "efficientnet_b1"
    focus = "return document.activeElement.dataset.name"
    assert fresh.run(focus) == "efficientnet_b1"


def open_address(page, hash):
    """Opens the page at an address, as a copied link does."""
    page.run("location.replace('about:blank')")
    page.open(page.path.resolve().as_uri() + hash)


def test_the_address_keeps_the_settings(fresh):
    """A link, a reload and the back button show the same network."""
    states = [fresh.run(READ_STATE)]
    assert states[0][0] == ""
    for script in (
        "document.querySelector('[data-name=efficientnet_b3]').click()",
        "document.querySelector('[value=params]').click()",
        "document.querySelector('[value=Lite]').click()",
        "change({alpha: 1.25, phi: 1.5, resolution: 300})",
    ):
        fresh.run(script)
        states.append(fresh.run(READ_STATE))
    assert [state[0] for state in states[1:3]] == [
        "#named=efficientnet_b3",
        "#named=efficientnet_b3&axis=params",
    ]
    assert len({tuple(state) for state in states}) == len(states)
    for state in reversed(states[:-1]):
        fresh.run(BACK)
        assert fresh.run(READ_STATE) == state
    open_address(fresh, states[-1][0])
    assert fresh.run(READ_STATE) == states[-1]
    fresh.run("location.reload()")
    assert fresh.run(READ_STATE) == states[-1]


def test_what_is_typed_into_a_field_is_one_step_back(fresh):
    before = fresh.run(READ_STATE)
    for value in ("1", "1.5", "1.75"):
        fresh.run(SET_FIELD, "phi", value)
    fresh.run(SET_FIELD, "alpha", "0.9")  # Not valid: the last valid one stays.
    settled = "return new Promise((end) => setTimeout(end, 400))"
    fresh.run(settled)
    assert fresh.run(READ_STATE)[0] == "#phi=1.75"
    fresh.run(BACK)
    assert fresh.run(READ_STATE) == before
    assert fresh.run("return document.getElementById('error').textContent") == (
        ""
    )


@pytest.mark.parametrize(
    ("hash", "fault"),
    [
        ("#phi=banana", "phi=banana"),
        ("#phi=1&alpha=NaN", "alpha=NaN"),
        ("#phi=13", "phi=13"),
        ("#phi=", "phi="),
        ("#phi=1&phi=2", "phi=2"),
        ("#resolution=300.5", "resolution=300.5"),
        ("#family=constructor", "family=constructor"),
        ("#named=efficientnet_b3&phi=7", "phi=7"),
        ("#named=resnet50", "named=resnet50"),
        ("#__proto__=1", "__proto__=1"),
        ("#axis=<b>&phi=1", "axis=<b>"),
        ("#gamma=2&phi=-4", "gamma=2, phi=-4"),
        ("#what", "what="),
        ("#%E0%A4%A", "="),
    ],
)
def test_nonsense_in_the_address_gives_the_defaults_and_is_said_once(
    fresh, hash, fault
):
    default = fresh.run(READ_STATE)
    open_address(fresh, hash)
    *shown, told = fresh.run(READ_STATE)
    assert shown == default[:-1]
    assert f"{fault})" in told or f"{fault}, " in told
    fresh.run("location.reload()")
    assert fresh.run(READ_STATE) == default


@pytest.mark.parametrize("width", [400, 1280, 1920])
def test_no_line_crosses_a_label_of_the_plot(fresh, width):
    fresh.resize(width, 900)
    families = {"B0", "B3", "B7", "Lite0", "Lite4"}
    for change in (
        *({"phi": phi} for phi in (0, 0.9, 2, 3.3, 5, 8)),
        {"axis": "params", "phi": 0},
        *({"phi": phi} for phi in (1, 2.5, 6.8)),
        {"family": "Lite", "phi": 1.2},
    ):
        fresh.run("change(arguments[0])", change)
        crossed, labels = fresh.run(FIND_CROSSED)
        assert not crossed, change
        # A phone may have no room for one that the dashed line is beside.
        left_out = families - set(labels)
        assert len(left_out) <= (1 if width == 400 else 0), (change, left_out)


@pytest.mark.parametrize(("width", "columns"), [(400, 1), (1280, 1), (1920, 2)])
def test_the_page_fills_its_width(fresh, width, columns):
    fresh.resize(width, 900)
    boxes = fresh.run(
        "return ['network', 'accuracy', 'picture', 'plot'].map((id) =>"
        " document.getElementById(id).getBoundingClientRect())"
    )
    lefts = {round(box["left"]) for box in boxes}
    assert len(lefts) == columns
    right = max(box["right"] for box in boxes)
    assert right - min(lefts) >= 0.92 * width
    assert all(box["width"] >= 0.9 * width / columns - 30 for box in boxes)


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_nothing_sticks_out_of_the_screen(fresh, width):
    fresh.resize(width, 800)
    for name in ("efficientnet_b7", "efficientnet_l2", "efficientnet_lite0"):
        fresh.run("chooseNamed(arguments[0])", name)
        sizes = "return [document.documentElement.scrollWidth, innerWidth]"
        assert fresh.run(sizes) == [width, width]


def test_every_input_has_a_name_and_nothing_is_loaded(fresh):
    nameless = fresh.run(
        "return [...document.querySelectorAll('input')].filter((input) =>"
        " !input.labels.length && !input.ariaLabel).length"
    )
    assert nameless == 0
    loaded = "return performance.getEntriesByType('resource').length"
    assert fresh.run(loaded) == 0
