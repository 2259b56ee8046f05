"""Images of a run to look at: mistakes, doubts, labels, duplicates."""

import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from efficientnet_tf.utils import extras, run_folder, tables, untrusted, words
from transfer.report import page, run_files, wrong_labels
from transfer.scores import diagnostics, gallery, predictions as predictions_lib

MOST_ROWS = 30  # Of a table of images.


def show_most_wrong(run: run_files.Run) -> str:
    """Returns cards of wrong images, as HTML."""
    if run.found is None:
        return _show_former_mistakes(run)
    places = gallery.find_most_wrong(run.found)
    if not len(places):
        return page.paragraph("No image was misclassified.")
    wrong = int((~run.found.hits).sum())
    text = (
        f"Of {words.count(wrong, 'wrong image')}, the "
        f"{len(places)} that the network was surest of."
        if wrong > len(places)
        else "All wrong images, the surest first."
    )
    return page.paragraph(text, "muted") + _make_cards(run, places)


def show_least_sure(run: run_files.Run) -> str:
    """Returns cards of the images with the lowest probability, as HTML."""
    if run.found is None:
        return ""
    places = gallery.find_least_sure(run.found)
    if not len(places):
        return ""
    text = "Right or wrong, those of the lowest probability that are not above."
    return page.paragraph(text, "muted") + _make_cards(run, places)


def show_wrong_labels(run: run_files.Run) -> str:
    """Returns tables of labels to look at, as HTML."""
    scored = f"{run.row.get('evaluated_on', 'test')} images"
    held_out = "held-out training and validation images"
    sets = {
        name: found
        for name, found in ((scored, run.found), (held_out, run.held_out))
        if found is not None
    }
    if not sets:
        return ""
    if not extras.is_installed("cleanlab"):
        return page.paragraph(
            "Not looked for: that needs cleanlab (not installed): "
            f"{extras.explain('cleanlab')}, then `efficientnet report "
            f"--workdir={run.folder}`."
        )
    text = (
        "Confident learning (cleanlab) on predictions of images that the "
        "network was not trained on. These labels may be wrong, or the images "
        "hard: look before changing any."
    )
    parts = [page.paragraph(text, "muted")]
    for name, found in sets.items():
        parts.append(f"<h3>Among {page.escape(f'{found.size:,} {name}')}</h3>")
        parts.append(_show_labels(run, found))
    return "".join(parts)


def show_duplicates(run: run_files.Run) -> str:
    """Returns the images that two splits have in common, as HTML."""
    path = run.folder / run_folder.NEAR_DUPLICATES_FILE
    if not path.exists() and "near_duplicates" in run.row:
        # Its lists are in the grid's folder.
        row = run.row
        count = row["near_duplicates"] + row.get("exact_duplicates", 0)
        return page.paragraph(
            f"{count:,} of the scored images are, or nearly are, in another "
            "split; the list is in the folder of the grid that the run is of."
        )
    if not path.exists():
        return page.paragraph(
            "Not looked for: the run has no list of duplicates. Files in "
            "folders are compared, up to 100,000 of them."
        )
    try:
        rows = tables.read_csv(path)
        lines = [
            (
                row["path"],
                row["split"],
                row["other_path"],
                row["other_split"],
                "equal" if row["exact"] == "True" else "nearly",
                "yes" if row["same_class"] == "True" else "no",
            )
            for row in rows
        ]
    except (KeyError, ValueError, OSError) as error:
        return page.paragraph(f"{path.name} is damaged: {error}", "note")
    if not lines:
        return page.paragraph("None, neither equal nor nearly so.")
    text = (
        f"{words.count(len(lines), 'pair')}. Images that were trained on, too, "
        "flatter the score; equal images with two labels have a wrong one."
    )
    if len(lines) > MOST_ROWS:
        text += f" The first {MOST_ROWS} are shown, {path.name} has all."
    header = ("image", "split", "is like", "of split", "how", "same label")
    return page.paragraph(text, "muted") + page.table(
        header, lines[:MOST_ROWS], words=6
    )


def draw_card(
    title: str, paths: Sequence[pathlib.Path], pair: Sequence[str], text: str
) -> str:
    """Returns a card of an image and, if there are any, its maps, as HTML.

    Args:
      title: the image's name.
      paths: files of the image and of its maps.
      pair: the classes that the maps are of.
      text: HTML below.
    """
    pictures = "".join(page.image_file(path, title) for path in paths)
    under = ""
    if len(paths) > 1:
        cells = "".join(f"<span>for {page.name(each)}</span>" for each in pair)
        under = f'<div class="under"><span></span>{cells}</div>'
    return (
        f'<figure class="card"><div class="images">{pictures}</div>{under}'
        f'<div class="clip" title="{page.escape(title)}">'
        f"{page.name(title)}</div><div>{text}</div></figure>"
    )


def _show_labels(run, found):
    try:
        issues = wrong_labels.find(found, len(run.class_names))
    except untrusted.DamagedError as error:
        return page.paragraph(f"Not looked for: {error}", "note")
    if issues is None:
        return page.paragraph(
            "Not looked for: so many images times classes are kept only in "
            "part."
        )
    if not len(issues):
        return page.paragraph("None found.")
    names = run.class_names
    rows = [
        (
            found.images.names[i],
            names[found.labels[i]],
            names[found.predicted[i]],
            page.percent(float(found.own[i])),
            page.percent(float(found.probabilities[i, 0])),
        )
        for i in issues[:MOST_ROWS]
    ]
    header = ("image", "label", "rather", "of the label", "of the other")
    more = ""
    if len(issues) > MOST_ROWS:
        more = page.paragraph(
            f"{len(issues) - MOST_ROWS:,} more are left out.", "muted"
        )
    return page.table(header, rows, words=3) + more


def _make_cards(run, places):
    cards = [_make_card(run, int(place)) for place in places]
    return show_cards(run, places, cards)


def show_cards(
    run: run_files.Run, places: Iterable[int], cards: Iterable[str]
) -> str:
    """Returns cards of images by their places, with what maps are, as HTML."""
    shown = f'<div class="cards">{"".join(cards)}</div>'
    if any(len(gallery.find(run.folder, int(i))) > 1 for i in places):
        shown = _EXPLAIN_MAPS + shown
    return shown


_EXPLAIN_MAPS = page.paragraph(
    "Beside each image, in colour, what of the part that the network saw spoke "
    "for the class or label below: from violet, nothing, to yellow, the most "
    "of that map.",
    "muted",
)


def _make_card(run, place):
    found: predictions_lib.Predictions = run.found
    names = run.class_names
    label, best = (
        names[side[place]] for side in (found.labels, found.predicted)
    )
    pair = [names[i] for i in gallery.compared_classes(found, place)]
    sure = page.percent(float(found.probabilities[place, 0]))
    if found.hits[place]:
        text = f"{page.name(label)} {sure}, right"
        next_best = min(1, found.classes.shape[1] - 1)
        share = page.percent(float(found.probabilities[place, next_best]))
        text += f"<br>next: {page.name(pair[1])} {share}"
    else:
        own = page.percent(float(found.own[place]))
        text = (
            f"predicted: <b>{page.name(best)}</b> {sure}"
            f"<br>true: <b>{page.name(label)}</b> {own}"
        )
    return draw_card(
        found.images.names[place], gallery.find(run.folder, place), pair, text
    )


def _show_former_mistakes(run):
    """Returns images of the most confused pairs, which earlier runs keep."""
    names, cells = run.class_names, run.cells
    if cells is None:
        return ""
    wrong = cells[cells[:, 0] != cells[:, 1]]
    wrong = wrong[np.argsort(-wrong[:, 2], kind="stable")]
    cards = []
    for i, j, _ in wrong[: diagnostics.MISTAKEN_PAIRS]:
        pair = names[i], names[j]
        row = {"folder": str(run.folder), "class_names": names}
        for path in diagnostics.find_mistakes([row], *pair):
            both = [path, diagnostics.find_maps(path)]
            cards.append(
                draw_card(
                    path.name,
                    [each for each in both if each is not None],
                    pair,
                    f"predicted: <b>{page.name(pair[1])}</b>"
                    f"<br>true: <b>{page.name(pair[0])}</b>",
                )
            )
    if not cards:
        return ""
    text = "Of an earlier version's run: images of its most confused pairs."
    return (
        page.paragraph(text, "muted")
        + f'<div class="cards">{"".join(cards)}</div>'
    )
