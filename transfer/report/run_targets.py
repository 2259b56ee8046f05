"""A run's report on labels or numbers: scores of each, and the most wrong."""

import numpy as np

from efficientnet_tf.utils import target_scores, targets, words
from transfer.report import charts, page, run_files, run_images
from transfer.scores import gallery

MOST_NAMES = 200  # Of the table; the worst ones are shown.
MOST_CHARTS = 6  # Numbers with pictures of their own.
MOST_DOTS = 600
MOST_WRONG = 4  # Labels of an image that are named with their probability.


def summarize(run: run_files.Run) -> list[tuple[str, str]]:
    """Returns tiles of (value, what it is)."""
    row = run.row
    kind = row["target"]
    name = targets.METRIC_NAMES[targets.METRICS[kind]]
    interval = row.get("interval")
    shown = _percent if kind == targets.LABELS else _number
    if interval:
        low, high = map(shown, interval)
        name += f", 95 % interval {low} to {high}"
    items = [(shown(row["score"]), name)]
    if kind == targets.LABELS:
        items.append((_percent(row.get("mean_f1")), "mean F1"))
        items.append(
            (_percent(row.get("equal_sets")), "images with all labels right")
        )
        items.append((f"{len(run.class_names):,}", "labels"))
    else:
        items.append((f"{len(run.class_names):,}", "numbers an image"))
    return items


def show_each(run: run_files.Run) -> str:
    """Returns the table of labels or numbers, the worst first, as HTML."""
    if run.row["target"] == targets.LABELS:
        return _show_labels(run)
    return _show_numbers(run)


def show_scatter(run: run_files.Run) -> str:
    """Returns charts of predicted over true numbers, and of residuals."""
    if run.answers is None or run.row["target"] != targets.NUMBERS:
        return ""
    truth, found = run.answers.truth, run.answers.found
    some = np.unique(
        np.linspace(0, len(truth) - 1, min(MOST_DOTS, len(truth))).astype(int)
    )
    parts = []
    for i, name in enumerate(run.class_names[:MOST_CHARTS]):
        t, f = truth[some, i].tolist(), found[some, i].tolist()
        axis = charts.span_axis(f"true {name}", [*t, *f])
        up = charts.span_axis(f"predicted {name}", [*t, *f])
        residuals = [b - a for a, b in zip(t, f, strict=True)]
        parts.append(
            charts.draw(
                [_dots("an image", t, f)],
                axis,
                up,
                "On the dashed line the prediction is the true number.",
                ideal=True,
            )
        )
        parts.append(
            charts.draw(
                [_dots("an image", f, residuals)],
                charts.span_axis(f"predicted {name}", f),
                charts.span_axis("predicted minus true", [*residuals, 0.0]),
                "Errors over the prediction: a slope or a funnel says where "
                "it is off.",
            )
        )
    more = ""
    if len(run.class_names) > MOST_CHARTS:
        left = len(run.class_names) - MOST_CHARTS
        more = page.paragraph(f"{left:,} more numbers are not drawn.", "muted")
    return f'<div class="charts">{"".join(parts)}</div>{more}'


def show_most_wrong(run: run_files.Run) -> str:
    """Returns cards of the images with the largest losses, as HTML."""
    if run.answers is None:
        return ""
    kind = run.row["target"]
    places = gallery.pick_worst(target_scores.lose(run.answers, kind))
    make = _make_label_card if kind == targets.LABELS else _make_number_card
    cards = [make(run, int(place)) for place in places]
    loss = {
        targets.LABELS: "log-loss",
        targets.NUMBERS: "squared error, in deviations of each number",
    }[kind]
    text = f"The {words.count(len(places), 'image')} of the largest {loss}."
    return page.paragraph(text, "muted") + run_images.show_cards(
        run, places, cards
    )


def _show_labels(run):
    row, names = run.row, run.class_names
    precision = _column(row.get("average_precision"), len(names))
    f1 = _column(row.get("f1"), len(names))
    limits = _column(row.get("thresholds"), len(names))
    trained = run_files.count_train_images(run)
    tested = row.get("test_counts")
    order = np.argsort(np.nan_to_num(precision, nan=2), kind="stable")
    rows = [
        (
            names[i],
            "–" if trained is None else f"{trained[i]:,}",
            f"{tested[i]:,}" if tested and len(tested) == len(names) else "–",
            _percent(precision[i]),
            _percent(f1[i]),
            _number(limits[i]),
        )
        for i in order[:MOST_NAMES]
    ]
    split = row.get("evaluated_on", "test")
    header = (
        *("label", "train images", f"{split} images"),
        *("average precision", "F1", "threshold"),
    )
    text = (
        "The lowest average precision first: the mean precision while its "
        "images are found one by one, the surest first. An image has a label "
        "from its threshold on; F1 is measured there. Thresholds: "
        f"{row.get('thresholds_by', 'all are 0.5')}."
    )
    if len(order) > MOST_NAMES:
        text += f" {len(order) - MOST_NAMES:,} better labels are left out."
    return page.paragraph(text, "muted") + page.long_table(header, rows)


def _show_numbers(run):
    names, each = run.class_names, run.row.get("numbers") or {}
    columns = {
        key: _column(each.get(key), len(names)) for key in ("mae", "rmse", "r2")
    }
    means = deviations = np.full(len(names), np.nan)
    if run.answers is not None:
        means = run.answers.truth.mean(axis=0)
        deviations = run.answers.truth.std(axis=0)
    order = np.argsort(np.nan_to_num(columns["r2"], nan=-9), kind="stable")
    rows = [
        (
            names[i],
            _number(means[i]),
            _number(deviations[i]),
            *(_number(columns[key][i]) for key in ("mae", "rmse", "r2")),
        )
        for i in order[:MOST_NAMES]
    ]
    header = (*("number", "true mean", "true sd", "MAE", "RMSE", "R²"),)
    text = (
        "The lowest R² first: 1 is right everywhere, 0 no better than the "
        "same mean for every image. MAE is the mean absolute error, RMSE the "
        "root of the mean squared one, sd the standard deviation of the true "
        "numbers: all in the number's own unit."
    )
    return page.paragraph(text, "muted") + page.long_table(header, rows)


def _make_label_card(run, place):
    """Returns an image with the maps of its most wrong labels, as HTML."""
    pair = gallery.compared_labels(run.answers, place)
    return run_images.draw_card(
        run.image_names[place],
        gallery.find(run.folder, place),
        [run.class_names[label] for label in pair],
        _describe_labels(run, place),
    )


def _make_number_card(run, place):
    return run_images.draw_card(
        run.image_names[place],
        gallery.find(run.folder, place),
        (),
        _describe_numbers(run, place),
    )


def _describe_labels(run, place):
    answers: target_scores.Answers = run.answers
    names = run.class_names
    outputs = targets.Outputs(
        names, targets.LABELS, run.row.get("thresholds") or ()
    )
    found = answers.found[place].tolist()
    true = [
        n for n, has in zip(names, answers.truth[place], strict=True) if has
    ]
    chosen = outputs.pick(found)
    shares = dict(zip(names, found, strict=True))
    missed = [n for n in true if n not in chosen]
    extra = [n for n in chosen if n not in true]
    lines = [
        f"{word}: <b>{page.name(', '.join(labels) or 'none')}</b>"
        for word, labels in (("predicted", chosen), ("true", true))
    ]
    for word, wrong in (("not there", extra), ("missed", missed)):
        if wrong:
            texts = [f"{n} {_percent(shares[n])}" for n in wrong[:MOST_WRONG]]
            if len(wrong) > MOST_WRONG:
                texts.append(f"{len(wrong) - MOST_WRONG} more")
            lines.append(f"{word}: {page.name(', '.join(texts))}")
    return "<br>".join(lines)


def _describe_numbers(run, place):
    pairs = zip(
        run.class_names,
        run.answers.truth[place],
        run.answers.found[place],
        strict=True,
    )
    return "<br>".join(
        f"{page.name(name)}: <b>{found:.4g}</b>, true {true:.4g}"
        for name, true, found in list(pairs)[:4]
    )


def _dots(name, x, y):
    points = list(zip(x, y, strict=True))
    return charts.Series(name, points, [2.5] * len(points), line=False)


def _column(values, length):
    """Returns float [length]; NaN where a row has no number."""
    if not values or len(values) != length:
        return np.full(length, np.nan)
    return np.array([np.nan if v is None else v for v in values], "float64")


def _percent(value):
    return page.percent(None if value is None else float(value))


def _number(value):
    if value is None or value != value:
        return "–"
    return f"{value:.4g}"
