"""X, y and splits of an ``.npz`` file, checked."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..types import DataError
from . import columns
from .raw import Raw, count, listed

DAMAGED = (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)
SPLIT = re.compile(r"(train|test)_(\d+)")
SAVE = "write it with np.savez(path, X=X, y=y)"
INSTEAD = {
    "c": "take real and imaginary parts as columns of their own",
    "M": "count the time since a start: (X - X.min()) / np.timedelta64(1, 'D')",
    "m": "divide by a unit of time: X / np.timedelta64(1, 'D')",
    "O": "make them plain numbers with X.astype(float)",
    "V": "stack the fields: np.stack([X[name] for name in X.dtype.names], 1).astype(float)",
    "U": "write a .csv file, where text columns become indicators",
    "S": "write a .csv file, where text columns become indicators",
}


def npz(path: Path, target: str | None, split: int) -> Raw:
    """X ``[n, d]`` or ``[n]``, y ``[n]`` or ``[n, 1]``, and the pair ``train_<split>``, ``test_<split>`` if there are any.

    Splits are row numbers. Never unpickles. Raises DataError for files that are damaged, arrays of other kinds and
    shapes, other arrays that look like a split, and values that are not finite.
    """
    held = _arrays(path)
    if not {"X", "y"} <= set(held):
        raise DataError(f"{path.name} must hold arrays X [n, d] and y [n], it has {listed(held) or 'none'}: {SAVE}")
    x, y, notes = _checked(path.name, held.pop("X"), held.pop("y"))
    features = tuple(f"x{i}" for i in range(x.shape[1]))
    rows = _split(path.name, held, split, len(x))
    unused = [name for name in held if not SPLIT.fullmatch(name)]
    if unused:
        notes += (f"arrays of the file that are not used: {listed(unused)}",)
    return Raw(x, y, features, target or "y", notes, rows=rows)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream:  # np.load leaves a damaged file open
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{path.name} holds a single array, not an .npz of X and y: {SAVE}")
            return {name: _array(path.name, file, name) for name in file.files}
    except DAMAGED as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} is damaged or no .npz file ({error or type(error).__name__}): {SAVE}") from error


def _array(file: str, held: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return np.asarray(held[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{file}: {name} is an array of Python objects, which could run code when read: {INSTEAD['O']} before np.savez"
        ) from error


def _checked(file: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    for name, array, kinds in (("X", x, "fiub"), ("y", y, "fiubUS")):
        if array.dtype.kind not in kinds:
            kind = f"fields {listed(array.dtype.names)}" if array.dtype.names else str(array.dtype)
            raise DataError(
                f"{file}: expected numbers in {name}, got {kind}: {INSTEAD[array.dtype.kind].replace('X', name)}"
            )
    if x.ndim == 1 and len(x) == y.shape[:1][0] if y.ndim else False:
        x, notes = x[:, None], (*notes, "X has one axis: taken as one input")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if x.ndim != 2 or y.shape != (len(x),):
        advice = "write one row of X for each value of y"
        if x.ndim > 2:
            advice = "give each row one axis: X.reshape(len(X), -1)"
        elif y.ndim == 2:
            advice = "choose one column of y, or, where it marks classes, y.argmax(1)"
        raise DataError(f"{file}: expected X [n, d] and y [n], got {list(x.shape)} and {list(y.shape)}: {advice}")
    for name, array in (("X", x), ("y", y)):
        bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
        if bad.any():
            row, of = int(np.argwhere(bad)[0][0]), "np.isfinite(X).all(1)" if name == "X" else "np.isfinite(y)"
            raise DataError(
                f"{file} has NaN or infinite values in {name}, {bad.sum():,} of them (the first in row {row}): impute them, "
                f"or drop the rows: good = {of}; X, y = X[good], y[good]"
            )
    return x.astype(np.float64), *_target(file, y, notes)


def _target(file: str, y: np.ndarray, notes: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """y as float64, whole numbers, bool or text, in the machine's own byte order; text of numbers throughout as numbers."""
    if y.dtype.kind == "f":
        return y.astype(np.float64), notes
    if y.dtype.kind in "iub":
        return y.astype(y.dtype.newbyteorder("=")), notes
    text = y if y.dtype.kind == "U" else np.char.decode(y, "utf-8", "replace")
    cells = [str(cell).strip() for cell in text]
    odd = sorted({cell for cell in cells if not cell or cell.lower() in columns.MISSING})
    if odd:
        raise DataError(
            f"{file}: y has {odd[0]!r} among its labels: where it means missing drop these rows, where it is a class "
            f"rename it"
        )
    numbers = [columns.to_number(cell, ".") for cell in cells]
    if all(number is not None for number in numbers):
        values = np.array(numbers, float)
        if not np.isfinite(values).all():
            raise DataError(f"{file} has infinite values in y: drop these rows")
        return values, (*notes, "y is text of numbers: read as numbers")
    return np.array(cells), notes


def _split(file: str, held: dict[str, np.ndarray], split: int, rows: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Row numbers of the split asked for; None where the file has no splits."""
    numbers = sorted({int(match[2]) for name in held if (match := SPLIT.fullmatch(name))})
    stray = [name for name in held if name.lower().startswith(("train", "test", "val"))]
    if stray and not numbers:
        raise DataError(f"{file} has arrays {listed(stray)}: splits are row numbers called train_0 and test_0")
    if not numbers:
        return None
    parts = (f"train_{split}", f"test_{split}")
    if not set(parts) <= set(held):
        raise DataError(f"{file} has no split {split}: it lacks {parts[0]} or {parts[1]}; it has {listed(numbers)}")
    train, test = (row_numbers(f"{file}: {part}", held[part], rows) for part in parts)
    both = np.intersect1d(train, test)
    if len(both):
        raise DataError(
            f"{file}: {count(len(both), 'row')} of {parts[1]} (the first is {both[0]}) are also in {parts[0]}: the test "
            f"would be of rows that were fitted; leave them out of one"
        )
    return train, test


def row_numbers(what: str, index: np.ndarray, rows: int) -> np.ndarray:
    """Row numbers 0 … rows − 1 as int64, in their order; a mask is refused, since as numbers it would mean rows 0 and 1."""
    if index.dtype.kind == "b":
        raise DataError(f"{what} is a mask of booleans: write the row numbers, np.flatnonzero(mask)")
    if index.dtype.kind not in "iu" or index.ndim != 1:
        got = f"{index.dtype} of shape {list(index.shape)}"
        raise DataError(f"{what}: expected whole row numbers [k], got {got}")
    if not len(index):
        raise DataError(f"{what} is empty: expected at least one row")
    if rows > 2 and index.shape == (rows,) and set(np.unique(index)) == {0, 1}:
        raise DataError(f"{what} is a mask of 0 and 1: write the row numbers, np.flatnonzero(mask)")
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= rows:
        raise DataError(f"{what}: expected row numbers 0 … {rows - 1}, counted from 0, got {low} … {high}")
    values, times = np.unique(index, return_counts=True)
    if len(values) < len(index):
        raise DataError(f"{what} has row {values[times > 1][0]} more than once ({len(index) - len(values)} repetitions)")
    return index.astype(np.int64)
