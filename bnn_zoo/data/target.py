"""What a target column asks for: a regression or classes."""

from __future__ import annotations

import numpy as np

from ..types import DataError
from .raw import Task, alike, count, listed, option

MOST_CLASSES = 50
"""A classification has at most so many classes."""

FEW = 20
"""Whole numbers from 0 or 1 without gaps are taken for labels if they are at most so many, each in five rows on average."""


def labels_or_numbers(
    name: str, target: str, y: np.ndarray, task: Task | None
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """y ``[n]`` as labels 0 … C − 1 with the names of the classes, or as float64 with none; and notes on what was decided.

    Text and booleans are classes. Other numbers than whole ones are a regression. Whole numbers are classes where there are
    two of them, or up to ``FEW`` that count up from 0 or 1 without gaps and come in five rows each on average. ``task``
    overrules all that. Raises DataError where it cannot be done.
    """
    if task not in (None, "regression", "classification"):
        raise DataError(f"expected task to be 'regression' or 'classification', got {task!r}")
    values, labels = np.unique(y, return_inverse=True)
    said = _described(values, y)
    if len(values) < 2:
        raise DataError(f"{name}: the target {target!r} has one value only ({values[0]}): there is nothing to learn")
    numeric = y.dtype.kind in "iuf"
    classes = task == "classification" or (task is None and (not numeric or _looks_like_labels(values, len(y))))
    if not classes and y.dtype.kind == "U":
        raise DataError(f"{name}: the target {target!r} holds {said}: a regression needs numbers; leave out task")
    if not classes:
        other = (
            f"; for classes say {option('task', 'classification')}" if numeric and _whole(values) and task is None else ""
        )
        return y.astype(np.float64), (), (f"{target} holds {said}: a regression{other}",)
    if y.dtype.kind == "U" and task is None and 2 * len(values) > len(y):
        raise DataError(
            f"{name}: the target {target!r} holds {said} in {len(y)} rows, too many for classes: name another target, write "
            f"numbers, or say {option('task', 'classification')}"
        )
    if len(values) > MOST_CLASSES:
        raise DataError(
            f"{name}: the target {target!r} holds {said}: expected at most {MOST_CLASSES} classes; name another target, or "
            + (f"say {option('task', 'regression')}" if numeric else "group its values")
        )
    other = f"; for a regression say {option('task', 'regression')}" if y.dtype.kind != "U" and task is None else ""
    names = tuple(str(int(v)) if numeric and _whole(values) else str(v) for v in values)
    return labels.ravel(), names, (f"{target} holds {said}: {len(values)} classes{other}",)


def _whole(values: np.ndarray) -> bool:
    return values.dtype.kind in "iu" or bool((values == np.round(values)).all())


def _looks_like_labels(values: np.ndarray, rows: int) -> bool:
    if not _whole(values):
        return False
    counted = values[0] in (0, 1) and bool((np.diff(values) == 1).all())
    return len(values) == 2 or (counted and len(values) <= FEW and rows >= 5 * len(values))


def _described(values: np.ndarray, y: np.ndarray) -> str:
    if y.dtype.kind == "b":
        return "true and false"
    if y.dtype.kind == "U":
        return f"text with {count(len(values), 'value')} ({listed(values)}){alike(map(str, values))}"
    kind = "whole numbers" if _whole(values) else "numbers"
    return f"{len(values):,} different {kind} from {values[0]:,} to {values[-1]:,} in {len(y):,} rows"


def check_classes(
    name: str, target: str, y: np.ndarray, classes: tuple[str, ...], train: np.ndarray, test: np.ndarray
) -> list[str]:
    """Notes on classes without training rows. Raises DataError where the training rows are of one class."""
    seen = np.bincount(y[train], minlength=len(classes)) > 0
    if seen.sum() < 2:
        only = classes[int(np.flatnonzero(seen)[0])]
        raise DataError(f"{name}: all training rows are of one class of {target!r}, {only}: choose another split or seed")
    unseen = [c for c, there in zip(classes, seen, strict=True) if not there]
    if not unseen:
        return []
    rows = int((~seen[y[test]]).sum())
    return [f"no training row is of class {listed(unseen)}: {count(rows, 'test row')} of it cannot be told from the data"]
