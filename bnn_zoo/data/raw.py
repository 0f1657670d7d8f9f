"""What a table's file holds before it is split and standardised; and how errors name the argument that overrules them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Task = Literal["regression", "classification"]

LISTED = 20
"""At most so many names are listed in an error."""


@dataclass(frozen=True)
class Raw:
    """Inputs x ``[n, d]`` of float64 with a name for each column, and y ``[n]``: numbers, booleans or text.

    notes: what was decided while reading, a sentence each. task: where it is known and need not be found. rows: numbers of
    the training and of the test rows, where the file itself names them.
    """

    x: np.ndarray
    y: np.ndarray
    features: tuple[str, ...]
    target: str
    notes: tuple[str, ...] = ()
    task: Task | None = None
    rows: tuple[np.ndarray, np.ndarray] | None = None


def option(word: str, *values: object) -> str:
    """An argument of ``table`` as in Python and on the command line: ``task='regression' (--task regression)``."""
    python = repr(values[0]) if len(values) == 1 else repr(tuple(values))
    return f"{word}={python} ({' '.join(f'--{word} {shlex.quote(str(v))}' for v in values)})"


def listed(names: Iterable[object]) -> str:
    """``a, b, c``, and how many more where there are many."""
    words = [str(name) for name in names]
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return ", ".join(words[:LISTED]) + more


def alike(names: Iterable[str]) -> str:
    """A remark on names that differ in case only, or nothing."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    twins = [group for group in groups.values() if len(group) > 1]
    return f" ({' and '.join(twins[0])} differ in case only)" if twins else ""


def count(number: int, what: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
