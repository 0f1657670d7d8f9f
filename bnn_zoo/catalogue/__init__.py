"""Every member of the zoo in one table: what it is, where it comes from, and a small example of it.

The lists of names elsewhere come from this one: what the packages export, the table in the README, the page of the
documentation, ``bnn-zoo list`` and ``bnn-zoo show``, and the members that the contract tests go through. To add a member
write its file and its row here, then run ``python .ci/lists.py``, which writes the other lists; a test fails where one of
them is not current.

This module imports nothing of the package: constructors are found when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from . import _backends, _likelihoods, _nets, _parts, _priors, _published
from ._card import Card, Figure
from ._entry import KINDS, Entry

__all__ = ["ENTRIES", "KINDS", "Card", "Entry", "Figure", "find", "nearest", "of"]

ENTRIES: tuple[Entry, ...] = tuple(
    row for part in (_published, _nets, _priors, _likelihoods, _backends, _parts) for row in part.rows()
)
"""The table."""


def of(kind: str) -> dict[str, Entry]:
    """The entries of this kind by name, in the table's order. Raises KeyError for a kind that there is not."""
    if kind not in KINDS:
        raise KeyError(f"unknown kind {kind!r}: kinds are {list(KINDS)}")
    return {e.name: e for e in ENTRIES if e.kind == kind}


def find(name: str) -> list[Entry]:
    """The entries of this name, in any case, with or without its package (``priors.Laplace``: there is a backend too).

    Raises KeyError with the nearest names where there is none.
    """
    wanted = name.removeprefix("bz.").removeprefix("bnn_zoo.").lower()
    found = [e for e in ENTRIES if wanted in {e.name.lower(), f"{e.package}.{e.name}".lower()}]
    if not found:
        raise KeyError(f"there is no {name!r} in the zoo" + nearest([wanted.rpartition(".")[2]], [e.name for e in ENTRIES]))
    return found


def nearest(wrong: Iterable[str], names: Iterable[str]) -> str:
    """``": did you mean …?"`` with up to three names, in any case, near each of the wrong ones; "" where none is."""
    lower = {name.lower(): name for name in names}
    near = [lower[n] for w in wrong for n in get_close_matches(w.lower(), lower, n=3, cutoff=0.5)]
    return f": did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
