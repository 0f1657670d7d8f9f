"""Tables as train and test sets: the embedded sets of scikit-learn, ``.npz`` files with X and y, text tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..types import DataError
from .npz import npz
from .raw import Raw, Task, count, listed, option
from .target import check_classes, labels_or_numbers
from .textfile import textfile

TEXT = (".csv", ".tsv", ".txt", ".data")
LEAST_ROWS = 10
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)
ROUNDING = 1e-14  # a column whose values differ by less, relative to their size, is constant


@dataclass(frozen=True)
class Table:
    """A regression or classification task, split and standardised with the training rows' statistics alone.

    x, x_test are ``[n, features]``; an input that is constant on the training rows is 0 in both. For regression y, y_test
    are ``[n]`` in units of ``y_scale`` around ``y_mean``; for classification they hold the labels 0 … len(classes) − 1 and
    ``classes`` names them (empty for regression). notes: what was decided about the file, a sentence each, with the
    argument that overrules it.
    """

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()
    y_mean: float = 0.0
    y_scale: float = 1.0
    notes: tuple[str, ...] = ()


def _sklearn(loader: str, target: str, task: Task) -> Callable[[], Raw]:
    def read() -> Raw:
        from sklearn import datasets

        bunch = getattr(datasets, loader)()
        names = tuple(map(str, getattr(bunch, "feature_names", [f"x{i}" for i in range(bunch.data.shape[1])])))
        return Raw(bunch.data.astype(np.float64), bunch.target, names, target, task=task)

    return read


EMBEDDED: dict[str, Callable[[], Raw]] = {
    "diabetes": _sklearn("load_diabetes", "progression", "regression"),
    "breast_cancer": _sklearn("load_breast_cancer", "benign", "classification"),
    "digits": _sklearn("load_digits", "digit", "classification"),
    "wine": _sklearn("load_wine", "cultivar", "classification"),
}
"""Real sets that come with scikit-learn: nothing is downloaded."""


def table(
    source: str | Path,
    *,
    target: str | None = None,
    task: Task | None = None,
    missing: Sequence[str] = (),
    drop: Sequence[str] = (),
    separator: str | None = None,
    decimal: str | None = None,
    split: int = 0,
    test_share: float = 0.2,
    seed: int = 0,
) -> Table:
    """Read ``source``: a name in ``EMBEDDED``, an ``.npz`` with X and y, or a text table (``.csv``, ``.tsv``, ``.txt``).

    What was decided about a file stands in the ``notes`` of the answer, and what can be read in two ways is refused; the
    arguments overrule it. Those but ``task`` and ``split`` are for text tables.

    target
        the column to predict. Text columns among the others become one indicator for each of their values.
    task
        ``"regression"`` or ``"classification"``, where the target's values do not say it.
    missing
        what stands for a missing value: ``"?"``, ``"-999"``, ``""`` for an empty cell. Rows with one are left out. Without
        it empty cells, and words among numbers, are refused.
    drop
        columns to leave out, such as numbers of rows, names or dates.
    separator, decimal
        what stands between fields, and in numbers ``"."`` or ``","``; found from the file where it is not given.
    split, test_share, seed
        An ``.npz`` that brings its own splits (row numbers ``train_<k>`` and ``test_<k>``) is split by number
        ``split``; everything else by a random permutation from ``seed``, ``test_share`` of the rows for testing.

    Raises DataError for files, columns and arrays that are missing or damaged, values that are not finite or beyond
    float32, fewer than ten rows, constant targets, and splits that overlap.
    """
    settings = {
        "missing": _words("missing", missing),
        "drop": _words("drop", drop),
        "separator": separator,
        "decimal": decimal,
    }
    if decimal not in (None, ".", ","):
        raise DataError(f"expected decimal to be '.' or ',', got {decimal!r}")
    if not 0 < test_share < 1:
        raise DataError(f"expected test_share between 0 and 1, got {test_share}: 0.2 keeps a fifth of the rows for testing")
    if seed < 0:
        raise DataError(f"expected a seed from 0, got {seed}")
    raw, name = _read(source, target, settings, split)
    if raw.rows is None and split != 0:
        raise DataError(f"{name} brings no splits, so there is no split {split}: leave it out; seed chooses the test rows")
    if len(raw.x) < LEAST_ROWS or raw.x.shape[1] == 0:
        shape = f"{count(len(raw.x), 'row')} and {count(raw.x.shape[1], 'input')}"
        raise DataError(f"{name}: expected at least {LEAST_ROWS} rows and one input, got {shape}")
    train, test = _permuted(len(raw.x), test_share, seed) if raw.rows is None else raw.rows
    return _table(name, raw, task, train, test)


def _words(name: str, words: Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(map(str, words))


def _read(source: str | Path, target: str | None, settings: dict[str, Any], split: int) -> tuple[Raw, str]:
    """What ``source`` holds, and its name."""
    given = [word for word, value in settings.items() if value]
    if source in EMBEDDED:
        raw = EMBEDDED[str(source)]()
        if given or target not in (None, raw.target):
            raise DataError(f"{source} has the target {raw.target} and no holes: leave out {listed(given or ['target'])}")
        return raw, str(source)
    path = Path(source).expanduser()
    kind = path.suffix.lower()
    if kind != ".npz" and kind not in TEXT:
        raise DataError(f"data must be one of {', '.join(EMBEDDED)}, an .npz or a .csv file; got {str(source)!r}")
    if not path.is_file():
        raise DataError(f"no file {str(source)!r}: expected an .npz with X and y, or a .csv with a header")
    if kind == ".npz" and given:
        raise DataError(f"{path.name}: {listed(given)} is for text tables: change the arrays of an .npz themselves")
    try:
        return (npz(path, target, split) if kind == ".npz" else textfile(path, target, **settings)), path.stem
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _permuted(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(rows)
    held = max(1, round(share * rows))
    if rows - held < 2:
        raise DataError(f"test_share={share} of {rows} rows leaves {rows - held} for training: expected at least 2")
    return order[held:], order[:held]


def _table(name: str, raw: Raw, task: Task | None, train: np.ndarray, test: np.ndarray) -> Table:
    """Standardised with the statistics of the training rows."""
    y, classes, notes = labels_or_numbers(name, raw.target, raw.y, task or raw.task)
    notes = () if raw.task and not task else notes
    _within_float32(name, raw.x, raw.features)
    x, constant = _standardised(raw.x, train)
    if constant.all():
        raise DataError(f"{name}: every input is constant on the training rows: there is nothing to learn from")
    notes = (*raw.notes, *notes, *_sentinels(raw, y, classes))
    if constant.any():
        names = listed(f for f, flat in zip(raw.features, constant, strict=True) if flat)
        notes += (f"constant on the training rows, so without effect (0 in testing too): {names}",)
    if raw.rows is not None and len(train) + len(test) < len(y):
        notes += (f"{count(len(y) - len(train) - len(test), 'row')} in neither part of the split",)
    inputs, held_out = torch.as_tensor(x[train]), torch.as_tensor(x[test])
    made = Table(
        name, inputs, torch.as_tensor(y[train]), held_out, torch.as_tensor(y[test]), raw.features, raw.target, classes
    )
    if classes:
        notes += tuple(check_classes(name, raw.target, y, classes, train, test))
        return _cast(replace(made, notes=notes), torch.int64)
    _within_float32(name, y[:, None], [raw.target])
    scaled, flat = _standardised(y[:, None], train)
    mean, scale = float(y[train].mean()), float(_scale(y[train, None])[0])
    if flat[0]:
        raise DataError(f"{name}: the target {raw.target!r} is constant on the training rows")
    if scale < SMALLEST:
        raise DataError(f"{name}: the target {raw.target!r} varies by {scale:g}, too little for float32: change its unit")
    y_train, y_test = torch.as_tensor(scaled[train, 0]), torch.as_tensor(scaled[test, 0])
    return _cast(replace(made, y=y_train, y_test=y_test, y_mean=mean, y_scale=scale, notes=notes), torch.float32)


def _cast(made: Table, kind: torch.dtype) -> Table:
    """Inputs in float32, the target in ``kind``; DataError where a test row is too far from the training rows for that."""
    x, x_test, y, y_test = made.x.float(), made.x_test.float(), made.y.to(kind), made.y_test.to(kind)
    if not all(bool(t.isfinite().all()) for t in (x_test, y_test)):
        raise DataError(f"{made.name}: test rows are too far from the training rows for float32: mend them")
    return replace(made, x=x, x_test=x_test, y=y, y_test=y_test)


def _within_float32(name: str, values: np.ndarray, columns: Sequence[str]) -> None:
    largest = np.abs(values).max(0)
    for column, value in zip(columns, largest, strict=True):
        if value > LARGEST:
            raise DataError(
                f"{name}: {column} has values up to {value:.3g}, beyond float32 ({LARGEST:.3g}): change its unit"
            )


def _scale(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each column, without overflow or underflow of squares."""
    deviation = values - values.mean(0)
    unit = np.abs(deviation).max(0)
    unit = np.where(unit > 0, unit, 1.0)
    return unit * (deviation / unit).std(0)


def _standardised(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns ``[n, d]`` in standard deviations of the training rows around their mean, and which are constant there (0)."""
    rows = values[train]
    constant = rows.max(0) - rows.min(0) <= ROUNDING * np.abs(rows).max(0)
    scale = np.where(constant, 1.0, _scale(rows))
    return np.where(constant, 0.0, (values - rows.mean(0)) / scale), constant


def _sentinels(raw: Raw, y: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Notes on numbers of nines, such as −999, that stand in several rows far from all others."""
    notes = []
    columns = [*zip(raw.features, raw.x.T, strict=True), *([] if classes else [(raw.target, y)])]
    for name, column in columns:
        for end in (column.min(), column.max()):
            digits = f"{abs(end):.0f}"
            others = column[column != end]
            if (
                end != np.round(end)
                or len(digits) < 2
                or set(digits) != {"9"}
                or not 2 <= len(column) - len(others) < len(column)
            ):
                continue
            if np.abs(others - end).min() > np.ptp(others):
                rows = count(len(column) - len(others), "row")
                notes.append(
                    f"{name} is {end:.0f} in {rows}, far from all others: if it means missing, say "
                    f"{option('missing', f'{end:.0f}')}"
                )
    return notes
