"""One HTML page that scales the family live, and the data in it."""

import dataclasses
import json
import math
import os
import pathlib
import re
import statistics
from collections.abc import Sequence

from efficientnet_tf.measure import cost_charts
from efficientnet_tf.models import costs, registry, scaling, variants
from efficientnet_tf.search import compound_search
from efficientnet_tf.utils import files

WEB = pathlib.Path(__file__).parent / "web"

# Name -> its base, and its family in `cost_charts.accuracy_points`.
FAMILIES = {
    "B": ("efficientnet_b0", "EfficientNet"),
    "Lite": ("efficientnet_lite0", "EfficientNet-Lite"),
    "V2": ("efficientnet_v2_b0", "EfficientNetV2"),
}
# What its numbers count.
_BLOCKS = {"mbconv", "fused_mbconv"}

_FIELDS = ("width", "depth", "resolution")


def page_data(models: Sequence[str] = ()) -> dict:
    """Returns all data of the page, which come from the project's tables.

    Args:
      models: more networks that the page scales, by name or variant file.

    Raises:
      ValueError: one is not made of MBConv blocks, or two have one label.
    """
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
        "families": {
            **{name: _family(*row) for name, row in FAMILIES.items()},
            **_own_families(models),
        },
        "named": {
            name: row for name in variants.VARIANTS if (row := _named(name))
        },
        "points": [
            {"family": family, **dict(zip(fields, row, strict=True))}
            for family, points in rows.items()
            for row in points
        ],
        **_picture_size("efficientnet_b7"),
    }


def render(models: Sequence[str] = ()) -> str:
    """Returns the page's HTML, which needs no other file; see `page_data`."""
    data = json.dumps(page_data(models), ensure_ascii=False, indent=1)
    parts = {
        "style": _read("style.css"),
        # A "</" in the data could end the script element around it.
        "data": data.replace("</", "<\\/"),
        "numbers": _read("numbers.js"),
        "view": _read("view.js"),
        "plot": _read("plot.js"),
        "address": _read("address.js"),
    }
    return re.sub(
        r"^\{(\w+)\}$",
        lambda match: parts[match[1]],
        (WEB / "page.html").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )


def write(path: str | os.PathLike, models: Sequence[str] = ()) -> None:
    """Writes the page atomically; see `page_data` for the errors."""
    files.write_text(path, render(models))


def _read(name):
    return (WEB / name).read_text(encoding="utf-8").rstrip()


def _own_families(models):
    """Returns {label: family} of networks that people name."""
    found = {}
    for model in models:
        label = pathlib.Path(model).stem
        if label in found or label in FAMILIES:
            raise ValueError(f"Two families would be called {label!r}.")
        found[label] = _family(model, label)
    return found


def _family(model, title):
    base = registry.get_variant(model)
    blocks = {stage.block for stage in base.stages}
    if blocks - _BLOCKS or (base.stem, base.head) != ("conv", "conv"):
        raise ValueError(
            f"The explorer scales networks of MBConv blocks; {model} has "
            f"{', '.join(sorted(blocks))} blocks."
        )
    fields = ("fixed_ends", "stem_filters", "head_filters", "round_limit")
    return {
        "title": title,
        **{field: getattr(base, field) for field in (*_FIELDS, *fields)},
        "stages": [dataclasses.asdict(stage) for stage in base.stages],
    }


def _named(name):
    """Returns a row of a family; None: it has other stages, as V2-S to XL."""
    variant = variants.VARIANTS[name]
    stages = {
        variants.VARIANTS[base].stages: (family, base)
        for family, (base, _) in FAMILIES.items()
    }
    if variant.stages not in stages:
        return None
    family, base = stages[variant.stages]
    implied = scaling.implied_phi(name, base)
    phis = implied.depth, implied.width, implied.resolution
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
