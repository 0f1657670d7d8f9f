"""Choosing sites by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from .types import ModelError


def need_patterns(what: str, patterns: Sequence[object]) -> None:
    """Raise TypeError unless there are patterns, and all are texts."""
    if not patterns or not all(isinstance(p, str) for p in patterns):
        raise TypeError(f"{what} needs patterns of names of sites, such as '*.weight'; got {patterns!r}")


def fits(name: str, patterns: Iterable[str]) -> list[str]:
    """The patterns, as of ``fnmatch``, that a name fits."""
    return [p for p in patterns if fnmatchcase(name, p)]


def need_matches(what: str, patterns: Iterable[str], names: Sequence[str]) -> None:
    """Raise ModelError, with the nearest names, for a pattern that no name fits."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"sites are {list(names)[:12]}"
            raise ModelError(f"{what}: no site of the model fits {pattern!r}: {hint}")
