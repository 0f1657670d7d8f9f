"""Columns of text cells as numbers, booleans or text. What could be read in two ways is refused or noted, never guessed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..types import DataError
from .raw import count, option

MOST_LEVELS = 50
"""A text column of more levels is refused: each level becomes one input."""

MISSING = {"?", "na", "n/a", "nan", "null", "#n/a", "<na>", "#na", "nil"}
"""Words that often stand for a missing value, in lower case."""

POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?", re.ASCII)
GROUPED_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII)  # 1,234,567.8
GROUPED_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?", re.ASCII)  # 1.234.567,8
EITHER_COMMA = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)  # 1,234
EITHER_POINT = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)  # 1.234
ADORNED = re.compile(r"[$€£¥]?\s*[+-]?\s*\d[\d.,'’\s]*[$€£¥%‰]?")  # $1,200, 12 %, 1 234
CODE = re.compile(r"0\d+", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
TIME = r"([T ]?\d{1,2}:\d{2}.*)?"
DATE = re.compile(
    rf"\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}{TIME}|\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}{TIME}|\d{{1,2}}:\d{{2}}.*"
)


@dataclass(frozen=True)
class Column:
    """values ``[n]`` of float64, bool or text, and which of them are missing (there the value means nothing)."""

    values: np.ndarray
    holes: np.ndarray


@dataclass(frozen=True)
class Trouble:
    """A column that can be read in two ways: what is wrong, and the markers that would settle it if they mean missing."""

    said: str
    markers: tuple[str, ...]


def to_number(cell: str, decimal: str) -> float | None:
    """The number that a cell holds, with groups of thousands or without; None where it holds none. May be infinite."""
    cell = cell.replace("−", "-")
    plain, grouped, between = (POINT, GROUPED_POINT, ",") if decimal == "." else (COMMA, GROUPED_COMMA, ".")
    if plain.fullmatch(cell):
        return float(cell.replace(",", "."))
    if grouped.fullmatch(cell):
        return float(cell.replace(between, "").replace(",", "."))
    return float(cell) if INFINITE.fullmatch(cell) else None


def decimal_mark(name: str, columns: Sequence[Iterable[str]], separator: str) -> tuple[str, tuple[str, ...]]:
    """``"."`` or ``","``, with notes, from all cells of columns that hold mostly numbers.

    1,5 and 1.234,5 can only be decimal commas, 1.5 and 1,234.5 only decimal points; 1,234 alone can be both. Raises
    DataError where the cells contradict each other or all are of the last kind.
    """
    point: str | None = None
    comma: str | None = None
    either = ""
    doubtful = False
    for cells in ([cell.replace("−", "-") for cell in dict.fromkeys(column) if cell] for column in columns):
        if 2 * sum(to_number(c, ".") is not None or to_number(c, ",") is not None for c in cells) < len(cells):
            continue
        for cell in cells:
            if EITHER_COMMA.fullmatch(cell):
                either = either or cell
            elif EITHER_POINT.fullmatch(cell):
                doubtful = True
            elif ("." in cell and POINT.fullmatch(cell)) or ("," in cell and GROUPED_POINT.fullmatch(cell)):
                point = point or cell
            elif ("," in cell and COMMA.fullmatch(cell)) or ("." in cell and GROUPED_COMMA.fullmatch(cell)):
                comma = comma or cell
    if point and comma:
        raise DataError(f"{name} has decimal points ({point}) and decimal commas ({comma}): write all numbers in one way")
    if comma:
        return ",", (f"numbers have decimal commas, as {comma}",)
    if either and not point:
        as_comma, as_point = to_number(either, ","), to_number(either, ".")
        raise DataError(
            f"{name}: {either} can be {as_comma:g} or {as_point:.0f}: say {option('decimal', ',')} for the first, "
            f"{option('decimal', '.')} for the second"
        )
    if either:
        return ".", (f"commas in numbers part thousands, as {either}",)
    if doubtful and not point and separator == ";":
        return ".", (f"points are decimal points; where they part thousands, say {option('decimal', ',')}",)
    return ".", ()


def read(name: str, cells: Sequence[str], lines: Sequence[int], missing: Sequence[str], decimal: str) -> Column | Trouble:
    """One column. Raises DataError for infinite values, dates, and numbers with signs or units; Trouble says what else is
    wrong with it.
    """
    words = {word.strip() for word in missing}
    as_numbers = {to_number(word, decimal) for word in words} - {None}
    numbers = {cell: to_number(cell, decimal) for cell in set(cells)}
    gone = {cell for cell, value in numbers.items() if cell in words or (value is not None and value in as_numbers)}
    holes = np.array([cell in gone for cell in cells])
    kept = Counter(cell for cell in cells if cell not in gone)
    others = {cell: times for cell, times in kept.items() if numbers[cell] is None}
    dated = next((cell for cell in others if DATE.fullmatch(cell)), None)
    if dated is not None:
        raise DataError(
            f"{name} holds dates or times ({dated!r}): turn them into numbers first, such as days since the first, or leave "
            f"the column out with {option('drop', name)}"
        )
    if not others:
        return Column(
            _finite(name, np.array([np.nan if c in gone else numbers[c] for c in cells], float), holes, lines), holes
        )
    signed = [cell for cell in others if ADORNED.fullmatch(cell)]
    if 2 * len(signed) > len(others):
        raise DataError(
            f"{name} holds numbers with signs, units or blanks in them ({signed[0]!r}): write plain numbers, or, where they "
            f"are labels, put a letter before each; or leave the column out with {option('drop', name)}"
        )
    if "" in others or _meant_numbers(kept, others):
        return _trouble(name, cells, lines, kept, others)
    if {cell.lower() for cell in others} <= {"true", "false"} and len(others) == len(kept):
        return Column(np.array([cell.lower() == "true" for cell in cells]), holes)
    return Column(np.array(["" if cell in gone else cell for cell in cells], dtype=np.str_), holes)


def _finite(name: str, values: np.ndarray, holes: np.ndarray, lines: Sequence[int]) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values) & ~holes)
    if len(bad):
        raise DataError(
            f"{name} has infinite values in {count(len(bad), 'row')} (first in line {lines[bad[0]]}): drop or impute them"
        )
    return values


def _meant_numbers(kept: Counter[str], others: dict[str, int]) -> bool:
    """Whether a column with some cells that are no numbers was meant to hold numbers."""
    return len(kept) > len(others) and (
        2 * sum(others.values()) <= sum(kept.values()) or all(cell.lower() in MISSING for cell in others)
    )


def _trouble(name: str, cells: Sequence[str], lines: Sequence[int], kept: Counter[str], others: dict[str, int]) -> Trouble:
    filled = {cell: times for cell, times in others.items() if cell}
    numeric = _meant_numbers(kept - Counter({"": kept[""]}), filled)
    if not numeric:  # a text column with empty cells
        markers: tuple[str, ...] = ("",)
    else:
        markers = tuple(others) if len(others) <= 3 or all(c.lower() in MISSING | {""} for c in others) else ()
    odd = {cell: times for cell, times in others.items() if numeric or not cell} or others
    first = next(line for line, cell in zip(lines, cells, strict=True) if cell in odd)
    shown = " and ".join(repr(cell) if cell else "empty cells" for cell in list(odd)[:3])
    what = shown if len(odd) <= 3 else f"{len(odd)} other values such as {shown}"
    where = f"in {count(sum(odd.values()), 'row')} ({'line' if sum(odd.values()) == 1 else 'first in line'} {first})"
    return Trouble(f"{name} holds {'numbers' if numeric else 'text'} and {what} {where}", markers)
