"""Tables of text with a first line of names, as spreadsheets write them."""

import codecs
import csv
import dataclasses
import io
import os
import pathlib
import unicodedata

# Spreadsheets of some countries write others than commas.
_DELIMITERS = ",;\t|"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclasses.dataclass(frozen=True)
class Table:
    """The cells of a table: of its first line, and (line, cells) of others."""

    path: pathlib.Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    @property
    def names(self) -> list[str]:
        """The header in small letters, without spaces around."""
        return [cell.strip().lower() for cell in self.header]


def read(path: str | os.PathLike) -> Table:
    """Reads a table in UTF-8, or in UTF-16 with its mark, as Excel writes.

    Commas, semicolons, tabs or bars divide its cells: what the first line has
    most of. Empty lines are passed over. Accents are in one encoding.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no such text.
    """
    path = pathlib.Path(path).expanduser()
    text = unicodedata.normalize("NFC", _decode(path, path.read_bytes()))
    if "\0" in text:
        raise ValueError(
            f"{path} is no text: it has zero bytes. If it is UTF-16, save it "
            "as CSV UTF-8."
        )
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(
            f"{path} is no .csv file: {error}, in line {reader.line_num}."
        ) from None
    return Table(path, rows[0][1] if rows else [], rows[1:])


def _decode(path, data):
    # A guess at another encoding would put wrong letters into class names.
    encoding = "utf-16" if data.startswith(_UTF16) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is no text in UTF-8 (line {line}, byte "
            f"{data[error.start : error.start + 1]!r}): save it as CSV UTF-8."
        ) from None
