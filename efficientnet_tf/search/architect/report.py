"""The report of a search for a baseline: one page with two charts."""

import dataclasses
import html
import json
import os
import pathlib
import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from efficientnet_tf.models import costs, variants
from efficientnet_tf.search import ranking
from efficientnet_tf.search.architect import evaluators, objectives, plans
from efficientnet_tf.utils import chart_labels, chart_text, figures, files

REPORT_FILE = "report.html"
FRONT_IMAGE, CURVE_IMAGE = "front.png", "curve.png"
MOST_ROWS = 10

# What the budget trains, by evaluator.
_TRAINED = {
    "train": "Each network",
    evaluators.SUPERNET: "The supernet, whose slices the candidates are",
}

# With what a score is always compared.
COUNTS = ("depth", "multiply_adds", "params")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; padding: 0 1em;
  max-width: 60em; color: #222; }
img { max-width: 100%; } .wide { overflow-x: auto; }
table { border-collapse: collapse; } th, td { padding: .2em .7em; text-align:
  right; border-bottom: 1px solid #ddd; white-space: nowrap; }
.stage { display: flex; flex-wrap: wrap; align-items: center; gap: .25em;
  margin: .3em 0; } .stage b { flex: 0 0 19em; font-weight: normal; }
.block { display: inline-block; border-radius: 3px; background: #4c78a8;
  height: 1.2em; } .fused_mbconv { background: #f58518; }
.end { background: #999; } .se { outline: 2px solid #54a24b; }
pre { background: #f4f4f4; padding: .8em; overflow-x: auto; }
.note { background: #fff4d6; padding: .5em .8em; }
"""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search came to; `against` are the rows of another one."""

    plan: plans.Plan
    rows: list[dict]
    best: dict
    variant: variants.Variant | None
    peers: list[dict]
    against: Sequence[dict] | None = None
    commands: Sequence[Sequence[str]] = ()

    @property
    def known(self) -> list[dict]:
        """The rows with a score."""
        return [row for row in self.rows if "score" in row]

    @property
    def score(self) -> str:
        """What the scores are."""
        return evaluators.EVALUATORS[self.plan.evaluator].score


def write(found: Found, folder: str | os.PathLike) -> None:
    """Writes `REPORT_FILE` and its charts into a search's folder."""
    folder = pathlib.Path(folder)
    figures.write_png(folder / FRONT_IMAGE, front_image(found))
    figures.write_png(folder / CURVE_IMAGE, curve_image(found))
    body = "\n".join(_sections(found))
    files.write_text(
        folder / REPORT_FILE,
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Search for a baseline</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n",
    )


def front_image(found: Found) -> np.ndarray:
    """Draws scores over costs: candidates, their front, and known networks."""
    objective = found.plan.objective
    unit, divisor = objectives.COSTS[objective.cost]
    drawing, (axes,) = figures.make_figure(1, 1, (7.5, 4.8))

    def place(rows: Sequence[dict]) -> tuple[list[float], list[float]]:
        return [r["cost"] / divisor for r in rows], [r["score"] for r in rows]

    axes.plot(*place(found.known), "o", ms=4, color="0.7", label="candidates")
    front = objectives.find_front(found.known)
    axes.plot(*place(front), "o-", ms=4, color="tab:blue", label="their front")
    axes.plot(*place([found.best]), "*", ms=14, color="tab:red", label="found")
    peers = [row for row in found.peers if "score" in row]
    if peers:
        axes.plot(*place(peers), "D", color="k", label="known ones")
    axes.axvline(
        objective.target / divisor, ls=":", color="0.4", label="target"
    )
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel(found.score)
    axes.grid(alpha=0.3, which="both")
    axes.margins(x=0.12)
    axes.legend(fontsize=8)
    points = [
        (
            chart_text.show(row["name"], figures.MAX_CAPTION),
            row["cost"] / divisor,
            row["score"],
            "k",
        )
        for row in peers
    ]
    chart_labels.label_points(axes, points)
    return figures.rasterize(drawing)


def curve_image(found: Found) -> np.ndarray:
    """Draws the best reward so far over the number of candidates."""
    drawing, (axes,) = figures.make_figure(1, 1, (7.5, 3.8))
    curves: dict[str, Sequence[dict]] = {found.plan.searcher: found.rows}
    if found.against is not None:
        curves["the other search"] = found.against
    for name, rows in curves.items():
        rewards = [row.get("reward", -np.inf) for row in rows]
        best = np.maximum.accumulate(rewards)
        shown = np.where(np.isfinite(best), best, np.nan)
        axes.step(range(1, len(best) + 1), shown, where="post", label=name)
    axes.set_xlabel("candidates")
    axes.locator_params("x", integer=True)
    axes.set_ylabel("best reward so far")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figures.rasterize(drawing)


def agreement(rows: Sequence[dict]) -> dict[str, float]:
    """Returns Spearman's ρ of the score with each of `COUNTS`."""
    if len(rows) < 3:
        return {}
    scores = [row["score"] for row in rows]
    return {
        name: ranking.spearman(scores, [row[name] for row in rows])
        for name in COUNTS
    }


def stage_rows(variant: variants.Variant) -> list[tuple[str, costs.StageCost]]:
    """Returns a description and the costs of each stage, stem to head."""
    counted = costs.count_costs(variant).stages
    return [
        (
            f"{stage.operator}, k{stage.kernel_size}, stride {stage.strides}, "
            f"{stage.filters} filters, {stage.resolution} px",
            stage,
        )
        for stage in counted
    ]


def _sections(found) -> Iterator[str]:
    plan, best = found.plan, found.best
    failed = len(found.rows) - len(found.known)
    yield "<h1>Search for a baseline</h1>"
    yield (
        f"<p>{len(found.rows)} candidates by {html.escape(plan.searcher)}, "
        f"{failed} failed; objective {plan.objective.kind}, target "
        f"{plan.objective.show(plan.objective.target)}. "
        f"{objectives.KINDS[plan.objective.kind].note}</p>"
    )
    if plan.space is not None:
        yield f"<p>The space has {plan.space.count():,} networks.</p>"
    if plan.budget is not None and plan.evaluator in _TRAINED:
        text = plan.budget.text(_TRAINED[plan.evaluator])
        yield f"<p>{html.escape(text)}</p>"
    warning = plan.objective.warn(best["cost"])
    if warning:
        yield f'<p class="note">{html.escape(warning)}</p>'
    yield f'<h2>Scores and costs</h2><img src="{FRONT_IMAGE}" alt="front">'
    yield _table(found)
    yield _agreement(found)
    yield f'<h2>The search</h2><img src="{CURVE_IMAGE}" alt="curve">'
    if found.variant is not None:
        yield from _network(found.variant, found.commands)


def _table(found):
    objective = found.plan.objective
    # What is counted has its column.
    measured = objective.cost not in objectives.COUNTED
    cost = (objective.cost,) if measured else ()
    header = ("", found.score, *COUNTS, *cost, "reward")
    best = sorted(found.known, key=lambda row: -row["reward"])[:MOST_ROWS]
    lines = [
        (
            f"candidate {row['number']}",
            *_numbers(row, measured),
            f"{row['reward']:.4f}",
        )
        for row in best
    ]
    lines += [
        (row["name"], *_numbers(row, measured), "")
        if "score" in row
        else (row["name"], f"failed: {row['failed']}")
        for row in found.peers
    ]
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>"
        for line in lines
    )
    top = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    return f'<div class="wide"><table><tr>{top}</tr>{cells}</table></div>'


def _numbers(row, measured):
    numbers = (
        f"{row['score']:.4f}",
        str(row["depth"]),
        f"{row['multiply_adds'] / 1e6:.1f} M",
        f"{row['params'] / 1e6:.2f} M",
    )
    return (*numbers, f"{row['cost']:.4g}") if measured else numbers


def _agreement(found):
    found_rho = agreement(found.known)
    if not found_rho:
        return ""
    text = ", ".join(
        f"{rho:.2f} with {name}" for name, rho in found_rho.items()
    )
    return (
        f"<p>Spearman's ρ of {found.score}: {text}. A score that goes with one "
        "of them tells little more than it.</p>"
    )


def _network(variant, commands):
    yield "<h2>The network found, stage by stage</h2>"
    for (text, stage), block in zip(
        stage_rows(variant), _blocks(variant), strict=False
    ):
        box = (
            f'<span class="block {block}" style="width:'
            f'{max(6, round(stage.filters**0.5 * 2))}px"></span>'
        )
        yield (
            f'<div class="stage"><b>{html.escape(text)}</b>'
            f"{box * stage.repeats}</div>"
        )
    yield (
        "<p>A box is a block, wider with more filters: blue mbconv, orange "
        "fused_mbconv, grey others; framed in green, with "
        "squeeze-and-excitation.</p>"
    )
    lines = "\n".join(shlex.join(command) for command in commands)
    yield "<h2>Next</h2><p>Scale it, or train it as it is:</p>"
    yield f"<pre>{html.escape(lines)}</pre>"
    text = json.dumps(dataclasses.asdict(variant), indent=1)
    yield f"<h2>Its file</h2><pre>{html.escape(text)}</pre>"


def _blocks(variant):
    """Returns the classes of each row's boxes: stem, stages, ends."""
    stages = [
        f"{stage.block}{' se' if stage.se_ratio else ''}"
        for stage in variant.stages
    ]
    return ["end", *stages, "end", "end"]
