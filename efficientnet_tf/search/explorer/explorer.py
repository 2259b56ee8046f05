"""One HTML page that scales the family live, and the data in it."""

import dataclasses
import json
import math
import os
import pathlib
import re
import statistics

from efficientnet_tf.measure import cost_charts
from efficientnet_tf.models import costs, scaling, variants
from efficientnet_tf.search import compound_search
from efficientnet_tf.utils import files

WEB = pathlib.Path(__file__).parent / "web"

# Name -> its base, and its family in `cost_charts.accuracy_points`.
FAMILIES = {
    "B": ("efficientnet_b0", "EfficientNet"),
    "Lite": ("efficientnet_lite0", "EfficientNet-Lite"),
}

_FIELDS = ("width", "depth", "resolution")


def page_data() -> dict:
    """Returns all data of the page, which come from the project's tables."""
    rows = cost_charts.accuracy_points()
    fields = ("label", "params", "multiply_adds", "top1")
    return {
        "coefficients": {
            "alpha": scaling.ALPHA,
            "beta": scaling.BETA,
            "gamma": scaling.GAMMA,
        },
        "growth": compound_search.Plan.growth,
        "tolerance": compound_search.Plan.tolerance,
        "depth_divisor": scaling.DEPTH_DIVISOR,
        "min_resolution": variants.MIN_SIZE,
        "classes": costs.count_costs("efficientnet_b0").stages[-1].filters,
        "families": {name: _family(name) for name in FAMILIES},
        "named": {name: _named(name) for name in variants.VARIANTS},
        "points": [
            {"family": family, **dict(zip(fields, row, strict=True))}
            for family, points in rows.items()
            for row in points
        ],
        **_picture_size("efficientnet_b7"),
    }


def render() -> str:
    """Returns the page's HTML, which needs no other file."""
    data = json.dumps(page_data(), ensure_ascii=False, indent=1)
    parts = {
        "style": _read("style.css"),
        # A "</" in the data could end the script element around it.
        "data": data.replace("</", "<\\/"),
        "numbers": _read("numbers.js"),
        "view": _read("view.js"),
    }
    return re.sub(
        r"^\{(\w+)\}$",
        lambda match: parts[match[1]],
        (WEB / "page.html").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )


def write(path: str | os.PathLike) -> None:
    """Writes the page atomically."""
    files.write_text(path, render())


def _read(name):
    return (WEB / name).read_text(encoding="utf-8").rstrip()


def _family(name):
    base, title = FAMILIES[name]
    base = variants.VARIANTS[base]
    fields = (*_FIELDS, "fixed_ends", "stem_filters", "head_filters")
    return {
        "title": title,
        **{field: getattr(base, field) for field in fields},
        "stages": [dataclasses.asdict(stage) for stage in base.stages],
    }


def _named(name):
    variant = variants.VARIANTS[name]
    family = "Lite" if variant.fixed_ends else "B"
    base, _ = FAMILIES[family]
    phis = dataclasses.astuple(scaling.implied_phi(name, base))
    return {
        "label": variants.short_name(name),
        "family": family,
        # Two decimals, because logarithms differ between machines.
        "phi": round(statistics.fmean(phis), 2),
        **{field: getattr(variant, field) for field in _FIELDS},
    }


def _picture_size(name):
    """Returns the scale at which this network fills the picture."""
    stages = costs.count_costs(name).stages[:-1]
    widths = (s.repeats * math.sqrt(s.filters) for s in stages)
    return {
        "full_width": round(sum(widths), 2),
        "largest_side": stages[0].resolution // stages[0].strides,
    }
