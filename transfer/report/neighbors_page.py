"""The page of images beside the training images most like them."""

import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from transfer.report import page

THUMBNAIL = 160  # Pixels of the longer side.
MOST_IMAGES = 100  # Of a page.


@dataclasses.dataclass(frozen=True)
class Shown:
    """An image with its row of the list, and the pixels of its neighbours."""

    row: Mapping[str, Any]
    pixels: np.ndarray
    neighbors: Sequence[np.ndarray]


def compose(title: str, shown: Iterable[Shown], images: int) -> str:
    """Returns the page as HTML.

    Args:
      title: what the run's data set is called.
      shown: at most `MOST_IMAGES`.
      images: how many there are in all.
    """
    cards = [_make_card(each) for each in shown]
    text = (
        "Each image, what the network takes it for, and the images most like "
        "it among those that the network was trained on, by the cosine of its "
        "features: 1 is equal."
    )
    if len(cards) < images:
        text += f" The first {len(cards):,} of {images:,}."
    parts = [page.paragraph(text, "muted"), *cards]
    return page.make_page(f"{title}: neighbours", [("", "".join(parts))])


def _make_card(shown):
    row = shown.row
    answer = f"{row['class']}, {page.percent(row['probability'])}"
    pairs = [(shown.pixels, "", answer)]
    pairs += [
        (pixels, f"{item['similarity']:.3f}", item["class"])
        for pixels, item in zip(shown.neighbors, row["neighbors"], strict=True)
    ]
    tiles = "".join(
        f'<figure class="near"><div>{_embed(pixels, text)}</div><figcaption>'
        f"{page.name(text)}<br>{page.escape(number) or '&nbsp;'}"
        "</figcaption></figure>"
        for pixels, number, text in pairs
    )
    opinion = "agree" if row["agrees"] else "disagree"
    note = (
        f"{row['file']}: of the {len(shown.neighbors)} nearest, "
        f"{row['votes']} are {row['neighbors_class']}; they {opinion}."
    )
    kind = "" if row["agrees"] else "note"
    return (
        f'<div class="card beside">{page.paragraph(note, kind)}'
        f'<div class="row">{tiles}</div></div>'
    )


def _embed(pixels, about):
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return page.image(data.getvalue(), "jpeg", about)
