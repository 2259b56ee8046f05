"""Reports, tables and plots of a compound search and of a compound study."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from efficientnet_tf.models import costs, registry
from efficientnet_tf.search import (
    compound_search,
    compound_study,
    equal_costs,
    trials,
)
from efficientnet_tf.utils import figures, files, tables, words

REPORT_FILE = "report.md"
# Header of the cells of `_costs`.
COST_COLUMNS = ("pixels", "params, M", "multiply-adds, M")
# Number of curves that are drawn in colour.
BEST_CURVES = 5
COLORS = {
    "depth": "tab:blue",
    "width": "tab:green",
    "resolution": "tab:orange",
    "compound": "tab:red",
    "weighted": "tab:purple",
}


def write_search(
    plan: compound_search.Plan,
    rows: Sequence[dict],
    agreement: Mapping | None,
    workdir: str | os.PathLike,
    family: Sequence[dict] = (),
) -> str:
    """Writes report.md, grid.png and curves.png; returns the report's text.

    Args:
      plan: of the search.
      rows: of `compound_search.read_results`.
      agreement: of `compound_search.check_ranking`; None: left out.
      workdir: the search's folder.
      family: rows of `compound_search.write_family`; empty: left out.
    """
    workdir = pathlib.Path(workdir)
    parts = [
        "# The search for α, β and γ",
        tables.escape_markdown(plan.budget.text()),
        *([agreement_text(agreement)] if agreement else ()),
        "![The grid](grid.png)",
        search_table(rows),
        f"Front: the Pareto front of accuracy and {', '.join(plan.costs)}. "
        "Spread: the standard deviation over seeds.",
        "![Accuracy over epochs](curves.png)",
    ]
    if family:
        chosen = compound_search.choose(rows)
        parts += ["# The family", f"From {chosen['name']}.", _family(family)]
    text = "\n\n".join(parts) + "\n"
    files.write_text(workdir / REPORT_FILE, text)
    figures.write_png(workdir / "grid.png", grid_image(plan, rows))
    curves = {
        row["name"]: trials.read_curve(row["name"], plan.budget, workdir)
        for row in sorted(rows, key=_rank, reverse=True)
    }
    figures.write_png(workdir / "curves.png", curves_image(curves))
    return text


def write_study(
    plan: compound_study.Plan,
    rows: Sequence[dict],
    workdir: str | os.PathLike,
) -> str:
    """Writes report.md and study.png; returns the report's text.

    Args:
      plan: of the study.
      rows: of `compound_study.read_results`.
      workdir: the study's folder.
    """
    workdir = pathlib.Path(workdir)
    published = compound_study.published_rows(plan.bases)
    parts = [
        "# One dimension against all three",
        tables.escape_markdown(plan.budget.text()),
        "![Accuracy over multiply-adds](study.png)",
        "## Measured here",
        study_table(rows),
    ]
    equal = equal_costs.equal_table(rows)
    if equal:
        parts += [
            "## Weighted beside uniform, at equal cost",
            "Weighted accuracy is read off between the two networks around it.",
            equal,
        ]
    if published:
        parts += [
            "## Published: ImageNet, Tables 3 and 7 of the paper",
            published_table(published),
        ]
    text = "\n\n".join(parts) + "\n"
    files.write_text(workdir / REPORT_FILE, text)
    figures.write_png(workdir / "study.png", study_image(rows, published))
    return text


def agreement_text(found: Mapping) -> str:
    """Returns the result of `ranking.agreement` in words."""
    networks = words.count(found["candidates"], "network")
    head = f"{networks}, {words.count(found['seeds'], 'seed')}: "
    if found["rho"] is None:
        return (
            head + "too few to tell whether the budget ranks networks, which "
            "takes two seeds and three networks of different accuracy."
        )
    text = (
        f"{head}the rankings of two seeds agree with Spearman's ρ = "
        f"{found['rho']:.2f} (chance: within ±{found['chance']:.2f})"
    )
    if found["reliability"] is not None:
        text += (
            f", rankings by means over {found['seeds']} seeds with about "
            f"{found['reliability']:.2f}"
        )
    ranks = found["rho"] > found["chance"]
    verdict = "The budget ranks" if ranks else "The budget does not rank"
    return f"{text}. {verdict} these networks better than chance."


def search_table(rows: Sequence[dict]) -> str:
    """Returns candidates as Markdown, the most accurate first.

    Those without a score from every seed come last, with how many they have.
    """
    measured = [
        cost
        for name, cost in compound_search.MEASURED.items()
        if any(row[name] is not None for row in rows)
    ]
    lines = []
    for row in sorted(rows, key=_rank, reverse=True):
        product = row["alpha"] * row["beta"] ** 2 * row["gamma"] ** 2
        coefficients = [f"{row[n]:g}" for n in ("alpha", "beta", "gamma")]
        lines.append(
            [
                *coefficients,
                f"{product:.2f}",
                *_costs(row),
                f"{row['exact_growth']:.2f}",
                *(_number(row[c.column], f".{c.digits}f") for c in measured),
                *_scores(row),
                _number(row["objective"], ".4f"),
                "front" if row["on_front"] else "",
            ]
        )
    header = (
        *("α", "β", "γ", "α·β²·γ²", *COST_COLUMNS, "times the base's"),
        *(f"{cost.text},{cost.unit}" for cost in measured),
        *("accuracy", "spread", "objective", ""),
    )
    return tables.to_markdown(header, lines)


def study_table(rows: Sequence[dict]) -> str:
    """Returns the cases of a study as Markdown.

    Depth is that of all blocks, as only some stages may have grown.
    """
    begin = {
        row["base"]: row
        for row in rows
        if row["direction"] == compound_study.BASE
    }
    timed = any(row["step_ms"] is not None for row in rows)
    lines = []
    for row in rows:
        base = begin[row["base"]]
        depth = base["depth"] * sum(row["blocks"]) / sum(base["blocks"])
        weighted = row["direction"] == "weighted"
        lines.append(
            [
                row["base"],
                row["direction"],
                f"{depth if weighted else row['depth']:.2f}",
                " ".join(map(str, row["blocks"])),
                f"{row['width']:.2f}",
                *_costs(row),
                f"{row['exact_growth']:.2f}",
                *([_number(row["step_ms"], ".1f")] * timed),
                *_scores(row),
            ]
        )
    header = (
        *("network", "grown in", "depth", "blocks by stage", "width"),
        *(*COST_COLUMNS, "times the base's", *(["step, ms"] * timed)),
        *("accuracy", "spread"),
    )
    return tables.to_markdown(header, lines)


def published_table(rows: Sequence[dict]) -> str:
    """Returns `compound_study.published_rows` as Markdown, with our counts."""
    lines = []
    for row in rows:
        scale = {name: row[name] for name in ("width", "depth", "resolution")}
        variant = registry.get_variant(row["base"], **scale)
        counted = costs.count_costs(variant).multiply_adds
        lines.append(
            [
                row["base"],
                row["direction"],
                f"{row['depth']:g}",
                f"{row['width']:g}",
                str(row["resolution"]),
                f"{row['multiply_adds'] / 1e9:.1f}",
                f"{counted / 1e9:.2f}",
                f"{100 * row['accuracy']:.1f}",
            ]
        )
    header = (
        *("network", "grown in", "depth", "width", "pixels"),
        *("multiply-adds, G, published", "counted here", "top-1 %, published"),
    )
    return tables.to_markdown(header, lines)


def grid_image(plan: compound_search.Plan, rows: Sequence[dict]) -> np.ndarray:
    """Draws accuracy over α and β, with the γ that the constraint leaves.

    If several γ are within the tolerance, a cell shows the most accurate.
    """
    alphas = _axis(plan, rows, "alpha")
    betas = _axis(plan, rows, "beta")
    cells = np.full((len(betas), len(alphas)), np.nan)
    gammas = {}
    for row in sorted(rows, key=_rank):
        place = tuple(
            round((row[name] - 1) / plan.step) for name in ("beta", "alpha")
        )
        gammas[place] = row["gamma"]
        if row["mean"] is not None:
            cells[place] = row["mean"]
    size = (2.5 + 0.62 * len(alphas), 2.2 + 0.55 * len(betas))
    drawing, (axes,) = figures.make_figure(1, 1, size)
    half = plan.step / 2
    x_limits = (alphas[0] - half, alphas[-1] + half)
    y_limits = (betas[0] - half, betas[-1] + half)
    picture = axes.imshow(
        cells,
        extent=(*x_limits, *y_limits),
        origin="lower",
        aspect="auto",
        cmap="viridis",
    )
    drawing.colorbar(picture, label="accuracy, mean over seeds")
    for (i, j), gamma in gammas.items():
        axes.text(
            alphas[j],
            betas[i],
            f"{gamma:g}",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.7, "pad": 1, "lw": 0},
            fontsize=8,
        )
    xs = np.linspace(1, max(alphas[-1], plan.growth), 200)
    ys = np.sqrt(plan.growth / xs)
    axes.plot(xs, ys, color="tab:red", label=f"α·β² = {plan.growth:g}, γ = 1")
    axes.set_xlim(x_limits)
    axes.set_ylim(y_limits)
    axes.set_xlabel("α (depth)")
    axes.set_ylabel("β (width)")
    axes.set_title("γ (resolution) in the cells", fontsize=10)
    axes.legend(loc="upper right", fontsize=8)
    return figures.rasterize(drawing)


def curves_image(curves: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Draws {name: accuracies after each epoch}, the first few in colour."""
    drawing, (axes,) = figures.make_figure(1, 1, (7.5, 4.5))
    for number, (name, values) in enumerate(curves.items()):
        best = number < BEST_CURVES
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=None if best else "0.8",
            label=name if best else None,
            zorder=3 if best else 1,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, mean over seeds")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figures.rasterize(drawing)


def study_image(rows: Sequence[dict], published: Sequence[dict]) -> np.ndarray:
    """Draws accuracy over multiply-adds: measured above, published below."""
    bases = list(dict.fromkeys(row["base"] for row in rows))
    lines = 2 if published else 1
    size = (4.4 * len(bases), 3.8 * lines)
    drawing, panels = figures.make_figure(lines, len(bases), size)
    for number, base in enumerate(bases):
        _draw(panels[number], [r for r in rows if r["base"] == base])
        panels[number].set_title(f"{base}: measured here", fontsize=9)
        if not published:
            continue
        axes = panels[len(bases) + number]
        _draw(axes, [row for row in published if row["base"] == base])
        axes.set_title(f"{base}: published, ImageNet", fontsize=9)
    return figures.rasterize(drawing)


def _draw(axes, rows):
    begin = [row for row in rows if row["direction"] == compound_study.BASE]
    for direction, color in COLORS.items():
        grown = [row for row in rows if row["direction"] == direction]
        known = [r for r in begin + grown if r["accuracy"] is not None]
        if not grown or not known:
            continue
        axes.errorbar(
            [row["multiply_adds"] / 1e6 for row in known],
            [row["accuracy"] for row in known],
            yerr=[row.get("spread") or 0 for row in known],
            marker="o",
            ms=4,
            capsize=3,
            color=color,
            label=direction,
        )
    axes.set_xlabel("multiply-adds (millions)")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _axis(plan, rows, name):
    """Returns all values of a coefficient on the grid, from 1 on."""
    number = round((max(row[name] for row in rows) - 1) / plan.step)
    return [1 + plan.step * i for i in range(number + 1)]


def _family(rows):
    lines = [
        [
            f"{row['phi']:g}",
            f"{row['depth']:.3f}",
            f"{row['width']:.3f}",
            *_costs(row),
            f"{row['dropout']:.2f}",
            f"{compound_search.FAMILY_FOLDER}/phi{row['phi']:g}.json",
        ]
        for row in rows
    ]
    header = ("φ", "depth", "width", *COST_COLUMNS, "dropout", "file")
    return tables.to_markdown(header, lines)


def _costs(row):
    return (
        str(row["resolution"]),
        f"{row['params'] / 1e6:.2f}",
        f"{row['multiply_adds'] / 1e6:.1f}",
    )


def _scores(row):
    accuracy = _number(row["mean"], ".4f")
    if None in row["scores"] and row["mean"] is not None:
        seeds = sum(score is not None for score in row["scores"])
        accuracy += f" ({seeds} of {len(row['scores'])} seeds)"
    return accuracy, _number(row["spread"], ".4f")


def _number(value, form):
    return "–" if value is None else format(value, form)


def _rank(row):
    """Sorts rows by accuracy; those with all seeds rank above the others."""
    mean = -1.0 if row["mean"] is None else row["mean"]
    return row["accuracy"] is not None, mean
