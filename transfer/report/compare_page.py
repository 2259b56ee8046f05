"""The page of two compared runs."""

import itertools
from collections.abc import Sequence

from efficientnet_tf.utils import words
from transfer.report import compare, page, run_files, run_images
from transfer.scores import gallery

MOST_ROWS = 200  # Of a table; the screen shows fewer.
MOST_CARDS = 12

CLASSES_HEADER = ("class", "images", "first", "second", "lost", "gained")
IMAGES_HEADER = ("image", "true class", "first", "second")


def compose(found: compare.Compared) -> str:
    """Returns the page as HTML."""
    numbers = compare.measure(found)
    first, second = found.runs
    title = first.title
    if second.title != title:
        title = f"{title} and {second.title}"
    return page.make_page(
        f"{title}: two runs",
        [
            ("", _summarize(found, numbers)),
            ("Classes", _show_classes(found)),
            ("Lost", _show_changed(found, found.lost, 1)),
            ("Gained", _show_changed(found, found.gained, 0)),
        ],
    )


def class_rows(
    found: compare.Compared, most: int
) -> list[tuple[str, str, str, str, str, str]]:
    """Returns cells of `CLASSES_HEADER`, the largest changes first."""
    counts = compare.count_classes(found)
    change = counts["gained"] - counts["lost"]
    moved = counts["gained"] + counts["lost"]
    order = sorted(
        range(len(found.classes)), key=lambda i: (-abs(change[i]), -moved[i])
    )
    return [
        (
            found.classes[i],
            f"{counts['images'][i]:,}",
            page.percent(counts["first"][i] / counts["images"][i]),
            page.percent(counts["second"][i] / counts["images"][i]),
            f"{counts['lost'][i]:,}",
            f"{counts['gained'][i]:,}",
        )
        for i in order[:most]
    ]


def image_rows(
    found: compare.Compared, numbers: Sequence[int]
) -> list[tuple[str, str, str, str]]:
    """Returns cells of `IMAGES_HEADER`."""
    rows = []
    for number in numbers:
        row = found.describe(number)
        said = [
            f"{name} {page.percent(share)}"
            for name, share in (row["first"], row["second"])
        ]
        rows.append((row["name"], row["true"], said[0], said[1]))
    return rows


def difference_text(difference: float, low: float, high: float) -> str:
    """Returns "+3.6 points (95 % interval -1.8 to +8.9)"."""
    low, high = 100 * low, 100 * high
    return (
        f"{100 * difference:+.1f} points (95 % interval {low:+.1f} to "
        f"{high:+.1f})"
    )


def probability_text(value: float) -> str:
    """Returns a p-value as "0.043", or "below 0.001"."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _summarize(found, numbers):
    rows = [
        (name, str(run.folder), run.row["model"], run.row["recipe"] or "–")
        for name, run in zip(("first", "second"), found.runs, strict=True)
    ]
    runs = page.table(("run", "folder", "network", "recipe"), rows, words=4)
    items = [
        (page.percent(numbers["first_top1"]), "accuracy of the first"),
        (page.percent(numbers["second_top1"]), "accuracy of the second"),
        (
            f"{100 * numbers['difference']:+.1f}",
            f"points, 95 % interval {100 * numbers['low']:+.1f} to "
            f"{100 * numbers['high']:+.1f}",
        ),
        (
            probability_text(numbers["p_value"]),
            f"McNemar's p: {numbers['gained']:,} gained, "
            f"{numbers['lost']:,} lost",
        ),
    ]
    text = (
        f"On {words.count(found.images, 'image')} that both were scored on, "
        f"matched by {found.how}. Mean per class: "
        f"{page.percent(numbers['first_mean_per_class'])} and "
        f"{page.percent(numbers['second_mean_per_class'])}, "
        + difference_text(
            numbers["mean_per_class_difference"],
            numbers["mean_per_class_low"],
            numbers["mean_per_class_high"],
        )
        + "."
    )
    notes = "".join(
        page.paragraph(f"Left out: {each}.", "note") for each in found.left_out
    )
    explained = page.paragraph(
        "The interval is the bootstrap's, over samples of as many images. p: "
        "how likely so unlike numbers of lost and gained images would be if "
        "both runs were equally good.",
        "muted",
    )
    return runs + page.facts(items) + page.paragraph(text) + explained + notes


def _show_classes(found):
    rows = class_rows(found, MOST_ROWS)
    text = "Right of each class; the largest changes first."
    if len(rows) < len(found.classes):
        text += f" {len(found.classes) - len(rows):,} more are left out."
    return page.paragraph(text, "muted") + page.long_table(CLASSES_HEADER, rows)


def _show_changed(found, numbers, wrong):
    """Returns the images that one of the runs alone has wrong, as HTML."""
    who = ("first", "second")[wrong]
    if not len(numbers):
        return page.paragraph(f"No image is wrong in the {who} run alone.")
    text = (
        f"{words.count(len(numbers), 'image')} that only the {who} run has "
        "wrong, the surest first."
    )
    if len(numbers) > MOST_ROWS:
        text += f" {len(numbers) - MOST_ROWS:,} of them are left out below."
    table = page.long_table(
        IMAGES_HEADER, image_rows(found, numbers[:MOST_ROWS]), words=4
    )
    run = found.runs[wrong]
    drawn = (_draw_card(found, run, int(i), wrong) for i in numbers)
    cards = "".join(itertools.islice(filter(None, drawn), MOST_CARDS))
    if cards:
        cards = f'<div class="cards">{cards}</div>'
    return page.paragraph(text, "muted") + cards + table


def _draw_card(found, run: run_files.Run, number, wrong):
    """Returns a card; "" if the run's folder has no picture of the image."""
    place = int(found.places[wrong][number])
    paths = gallery.find(run.folder, place)
    if not paths or run.found is None:
        return ""
    pair = gallery.compared_classes(run.found, place)
    (row,) = image_rows(found, [number])
    text = (
        f"true: <b>{page.name(row[1])}</b><br>first: {page.name(row[2])}"
        f"<br>second: {page.name(row[3])}"
    )
    names = [run.class_names[i] for i in pair]
    return run_images.draw_card(row[0], paths, names, text)
