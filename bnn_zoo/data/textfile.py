"""A text table as inputs and target: which columns are inputs, which rows are whole, text as indicators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..types import DataError
from . import columns as reader
from .columns import CODE, MISSING, MOST_LEVELS, POINT, Column, Trouble
from .delimited import Cells, delimited
from .raw import Raw, alike, count, listed, option


def textfile(
    path: Path,
    target: str | None,
    *,
    missing: Sequence[str],
    drop: Sequence[str],
    separator: str | None,
    decimal: str | None,
) -> Raw:
    """Read a text table; arguments and errors are those of ``table``."""
    cells = delimited(path, separator)
    cells, notes = _choose(path.name, cells, target, drop)
    assert target is not None
    mark, said = (decimal, ()) if decimal else reader.decimal_mark(path.name, cells.columns, cells.separator)
    notes += said
    read = [reader.read(n, c, cells.lines, missing, mark) for n, c in zip(cells.names, cells.columns, strict=True)]
    _raise(path.name, [column for column in read if isinstance(column, Trouble)])
    held = {n: column for n, column in zip(cells.names, read, strict=True) if isinstance(column, Column)}
    codes = [n for n, c in zip(cells.names, cells.columns, strict=True) if n in held and any(map(CODE.fullmatch, c))]
    for name in (name for name in codes if held[name].values.dtype.kind == "f"):
        notes += (f"{name} has zeros in front and is read as numbers: where these are codes, put a letter before each",)
    held, left_out = _whole_rows(path.name, held, missing)
    y = held.pop(target).values
    if y.dtype.kind == "U" and (odd := sorted(_words(y))):
        marker = odd[0]
        raise DataError(
            f"{path.name}: the target {target} has {marker!r} among its labels: if it means missing, say "
            f"{option('missing', marker)}; if it is a class of its own, give it another name"
        )
    _refuse_copies(path.name, held, target, y)
    named, inputs, told = [], [], []
    for name, column in held.items():
        for feature, values, note in _inputs(path.name, name, column, len(y)):
            named.append((name, feature))
            inputs.append(values)
            told += [note] if note else []
    features = _unique(path.name, named)
    told += _counters(held)
    return Raw(np.stack(inputs, 1), y, features, target, (*cells.notes, *notes, *left_out, *told))


def _choose(name: str, cells: Cells, target: str | None, drop: Sequence[str]) -> tuple[Cells, tuple[str, ...]]:
    """The columns that are wanted, checked by name; and what was left out."""
    names, columns = cells.names, cells.columns
    if all(POINT.fullmatch(n) for n in names):
        raise DataError(f"{name}: expected names of the columns in the first line, got numbers ({listed(names)}): add them")
    unknown = [word for word in drop if word not in names]
    if unknown or (target is not None and target in drop):
        what = f"drop has {listed(unknown)}" if unknown else f"drop has the target {target}"
        raise DataError(f"{name}: {what}: expected names of inputs; the columns are {listed(names)}")
    kept = [i for i, n in enumerate(names) if n not in drop]
    notes: list[str] = []
    if names[0] == "" and 0 in kept and _numbers_rows(columns[0]):
        kept.remove(0)
        notes.append("the first column has no name and only tells the rows apart: left out")
    names, columns = [names[i] or f"column_{i + 1}" for i in kept], [columns[i] for i in kept]
    twice = [n for n, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{name} has several columns called {listed(twice)}: give every column a name of its own")
    if target is None or target not in names:
        close = [n for n in names if target is not None and n.lower() == target.lower()]
        hint = f"did you mean {close[0]}? " if close else ""
        example = option("target", (close or names)[-1])
        raise DataError(f"name the target column of {name}, as in {example}: {hint}it has {listed(names)}")
    if len(names) < 2:
        raise DataError(
            f"{name} has one column, {names[0]}: expected the target and at least one input; where several columns were "
            f"taken for one, say what is between them, as in {option('separator', ';')}"
        )
    return Cells(names, columns, cells.lines, cells.separator, cells.notes), tuple(notes)


def _numbers_rows(cells: list[str]) -> bool:
    """Whether a column counts the rows or names each of them: it says nothing about them."""
    counted = [[str(i + start) for i in range(len(cells))] for start in (0, 1)]
    text = not any(POINT.fullmatch(cell) for cell in cells)
    return cells in counted or (text and len(set(cells)) == len(cells))


def _raise(name: str, troubles: list[Trouble]) -> None:
    """One error for all columns that can be read in two ways, with all that would settle them."""
    if not troubles:
        return
    markers = list(dict.fromkeys(marker for trouble in troubles for marker in trouble.markers))
    said = "; ".join(trouble.said for trouble in troubles[:5])
    advice = "write numbers throughout or text throughout"
    if markers:
        advice = f"fill in what is missing or, to leave out these rows, say {option('missing', *markers)}"
    raise DataError(f"{name}: {said}: {advice}")


def _whole_rows(name: str, held: dict[str, Column], missing: Sequence[str]) -> tuple[dict[str, Column], tuple[str, ...]]:
    """The columns without the rows that miss a value, and how many these were."""
    gone: np.ndarray = np.any([column.holes for column in held.values()], axis=0)
    if not gone.any():
        return held, (f"no cell is {' or '.join(map(repr, missing))}: no row is left out",) if missing else ()
    if gone.all():
        worst = max(held, key=lambda n: int(held[n].holes.sum()))
        raise DataError(
            f"{name} has a missing value in every row, most in {worst}: leave it out with {option('drop', worst)}"
        )
    where = ", ".join(f"{n} {int(column.holes.sum())}" for n, column in held.items() if column.holes.any())
    kept = {n: Column(column.values[~gone], column.holes[~gone]) for n, column in held.items()}
    return kept, (f"{int(gone.sum()):,} of {count(len(gone), 'row')} left out for missing values ({where})",)


def _words(values: np.ndarray) -> set[str]:
    return {str(v) for v in np.unique(values) if str(v).lower() in MISSING}


def _refuse_copies(name: str, held: dict[str, Column], target: str, y: np.ndarray) -> None:
    if np.unique(y).size < 3:
        return
    for other, column in held.items():
        if column.values.dtype.kind == y.dtype.kind and np.array_equal(column.values, y):
            raise DataError(
                f"{name}: {other} repeats the target {target} in every row, so the answer would be among the inputs: leave "
                f"it out with {option('drop', other)}"
            )


def _inputs(file: str, name: str, column: Column, rows: int) -> Iterator[tuple[str, np.ndarray, str]]:
    """The inputs that a column gives: one, or an indicator for each level of text. Name, values, and a note at the first."""
    if column.values.dtype.kind != "U":
        yield (
            name,
            column.values.astype(np.float64),
            f"{name}: true is 1, false 0" if column.values.dtype.kind == "b" else "",
        )
        return
    levels, at = np.unique(column.values, return_inverse=True)
    if len(levels) > MOST_LEVELS or 2 * len(levels) > max(rows, 20):
        raise DataError(
            f"{file}: {name} is text with {len(levels)} different values in {rows} rows, such as {str(levels[0])!r}: "
            f"expected at most {MOST_LEVELS} and half the rows, since each becomes an input; write numbers, group it, or "
            f"leave it out with {option('drop', name)}"
        )
    note = f"{name} is text: {count(len(levels), 'indicator')}, {listed(levels)}{alike(map(str, levels))}"
    for word in sorted(_words(levels)):
        note += f" ({word!r} is one of them; if it means missing, say {option('missing', word)})"
    for i, level in enumerate(levels):
        yield f"{name}_{level}", (at.ravel() == i).astype(np.float64), note if i == 0 else ""


def _unique(file: str, named: list[tuple[str, str]]) -> tuple[str, ...]:
    """Names of the inputs; an indicator called like another input becomes ``column=level``."""
    twice = {feature for feature, times in Counter(feature for _, feature in named).items() if times > 1}
    features = [
        f"{column}={feature[len(column) + 1 :]}" if feature in twice and feature != column else feature
        for column, feature in named
    ]
    again = [feature for feature, times in Counter(features).items() if times > 1]
    if again:
        raise DataError(f"{file}: several inputs would be called {listed(again)}: rename a column or its levels")
    return tuple(features)


def _counters(held: dict[str, Column]) -> list[str]:
    """Notes on columns that count the rows."""
    found = []
    for name, column in held.items():
        if column.values.dtype.kind == "f" and len(column.values) > 2:
            start = column.values[0]
            if start in (0, 1) and np.array_equal(column.values, np.arange(len(column.values)) + start):
                found.append(f"{name} counts the rows: if that says nothing about them, say {option('drop', name)}")
    return found
