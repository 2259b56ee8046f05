"""Texts in charts: names come from strangers, and are shown as they are."""

import functools
import typing

from absl import logging

from efficientnet_tf.utils import tables

if typing.TYPE_CHECKING:
    from matplotlib import figure as mpl_figure

# Letters of one text in a chart; a longer one would leave no room to draw in.
MOST_LETTERS = 80
# Beside Matplotlib's own font, which lacks many scripts; those installed count.
FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR"),
    *("Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji"),
)


def prepare(drawing: "mpl_figure.Figure") -> None:
    """Makes all texts of a figure plain: no formulas, none too long."""
    from matplotlib import text as mpl_text

    # The powers of ten that Matplotlib itself writes are formulas.
    own = {
        label
        for axes in drawing.axes
        for axis in (axes.xaxis, axes.yaxis)
        if axis.get_scale() == "log"
        for label in axis.get_ticklabels(which="both")
    }
    for text in drawing.findobj(mpl_text.Text):
        if text not in own:
            text.set_parse_math(False)
            text.set_text(show(text.get_text()))
            text.set_fontfamily(list(_find_fonts()[0]))


def show(text: str, most: int = MOST_LETTERS) -> str:
    """Returns a name as a chart can show it: shortened, and in its fonts.

    Letters that no installed font has become escapes, which a line says once.
    """
    _, drawable = _find_fonts()
    text = tables.to_line(tables.to_unicode(text))
    lacking = {letter for letter in text if ord(letter) not in drawable}
    if lacking:
        _warn_of_letters()
        for letter in lacking:
            escape = letter.encode("unicode_escape").decode()
            text = text.replace(letter, escape)
    return tables.shorten(text, most)


@functools.cache
def _find_fonts():
    """Returns the families to draw with, and the letters that they have."""
    from matplotlib import font_manager

    installed = {font.name: font.fname for font in _list_fonts()}
    families = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
    letters: set[int] = set()
    for name in families:
        letters |= font_manager.get_font(installed[name]).get_charmap().keys()
    return tuple(families), frozenset(letters)


def _list_fonts():
    from matplotlib import font_manager

    # Of several faces of a family the plain one is used.
    return sorted(
        font_manager.fontManager.ttflist,
        key=lambda font: (font.style == "normal", font.weight == 400),
    )


@functools.cache  # Once.
def _warn_of_letters():
    logging.warning(
        "No installed font has all letters of the names; those that lack are "
        "shown as escapes in charts. Install one that has them, such as Noto "
        "Sans CJK."
    )
