"""Text tables: which encoding, which separator, which columns. Every cell stays text; columns.py makes numbers of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..types import DataError
from .raw import count, listed, option

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
TRIED = 200  # records from which the separator is found


@dataclass(frozen=True)
class Cells:
    """A text table: names of the columns, their cells without blanks around them, and the line of each row in the file."""

    names: list[str]
    columns: list[list[str]]
    lines: list[int]
    separator: str
    notes: tuple[str, ...]


def delimited(path: Path, separator: str | None = None) -> Cells:
    """The cells of a text file whose first line names the columns.

    UTF-8 with or without its mark, UTF-16, else Windows-1252 (with a note). The separator is the one of comma, semicolon,
    tab and bar, or else blanks, that gives every line the same number of fields. Empty lines are skipped. Raises DataError
    for other bytes, several fitting separators, and lines with more or fewer fields than the header.
    """
    text, notes = _text(path)
    if text.startswith("sep=") and text[5:6] in "\r\n":  # Excel's own way to say it
        separator, text = separator or text[4], "\n" + text[5:].lstrip("\r\n")
    if not text.strip(' \t\r\n,;|"'):
        raise DataError(f"{path.name} is empty: expected a line with the names of the columns, then a line for each row")
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise DataError(f"expected separator to be one character such as ';', got {separator!r}")
    separator = separator or _separator(path.name, text)
    try:
        records = list(_records(text, separator))
    except csv.Error as error:
        raise DataError(f"{path.name}: a quotation mark is not closed or stands inside a cell ({error}): mend it") from error
    names, rows = _rectangle(path.name, records, separator)
    full = [(line, cells) for line, cells in rows if any(cells)]
    if len(full) < len(rows):
        notes.append(f"{count(len(rows) - len(full), 'row')} without any value left out")
    if not full:
        raise DataError(f"{path.name} holds the names of {count(len(names), 'column')} and no row below them")
    columns = [list(column) for column in zip(*(cells for _, cells in full), strict=True)]
    held = [i for i, name in enumerate(names) if name or any(columns[i])]  # a separator at the end of each line
    if separator != ",":
        notes.insert(0, f"fields are separated by {SEPARATORS.get(separator, repr(separator))}")
    return Cells([names[i] for i in held], [columns[i] for i in held], [line for line, _ in full], separator, tuple(notes))


def _text(path: Path) -> tuple[str, list[str]]:
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace"), []
    if b"\0" in raw:
        raise DataError(f"{path.name} holds no text: expected lines of fields; a spreadsheet must be saved as CSV first")
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        said = "not UTF-8: read as Windows-1252 (Latin-1); where names look wrong save the file as UTF-8"
        return raw.decode("cp1252", "replace"), [said]


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the (last) line and fields of each record that is not an empty line."""
    if separator == " ":
        yield from ((i, line.split()) for i, line in enumerate(io.StringIO(text), 1) if line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=separator != "\t", strict=True)
    for record in reader:
        if record and (len(record) > 1 or record[0].strip()):
            yield reader.line_num, [field.strip() for field in record]


def _separator(name: str, text: str) -> str:
    """The separator that makes a rectangle of the first records, else the one that cuts the header into most fields."""
    widths: dict[str, list[int]] = {}
    even = []
    for separator in SEPARATORS:
        found = widths[separator] = []
        try:
            for _, fields in islice(_records(text, separator), TRIED):
                found.append(len(fields))
        except csv.Error:
            continue
        if not found:
            continue
        one_wide = len(set(found[1:])) <= 1 and set(found[1:]) <= {found[0], found[0] + 1}
        if separator != " " and found[0] > 1 and one_wide:
            even.append(separator)
    if len(even) > 1:
        which = " and of ".join(SEPARATORS[s] for s in even)
        raise DataError(f"{name} can be read as a table of {which}: say which with {option('separator', even[0])}")
    if even:
        return even[0]
    if widths[" "][0] > 1 and len(set(widths[" "])) == 1:
        return " "
    return max((s for s in widths if s != " "), key=lambda s: max(widths[s][:1], default=0))


def _rectangle(
    name: str, records: list[tuple[int, list[str]]], separator: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names and rows, all of one width. Where each row has one field more than the header: a separator at the end of each
    line, or names of rows as R writes them."""
    (_, names), rows = records[0], records[1:]
    names = [names[0].lstrip("# "), *names[1:]]
    if rows and all(len(fields) == len(names) + 1 for _, fields in rows):
        if any(fields[-1] for _, fields in rows):
            names = ["", *names]
        else:
            rows = [(line, fields[:-1]) for line, fields in rows]
    for line, fields in rows:
        if len(fields) != len(names):
            raise DataError(
                f"{name}, line {line}: expected {count(len(names), 'field')} as in the header ({listed(names)}), got "
                f"{len(fields)}, with {SEPARATORS.get(separator, repr(separator))} between fields: mend the line, put cells "
                f"that hold the separator in quotation marks, or say another separator, as in {option('separator', ';')}"
            )
    return names, rows
