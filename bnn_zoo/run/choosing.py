"""Some chains and draws of all, and the draws of several runs as one: what lies on disk stays there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..types import DataError, Draws
from .stored import joined, selected

SUMMED = ("gradients", "tuning_gradients", "tuning_time", "sampling_time", "compile_time", "divergences")
"""Facts of runs that add up."""


def select(draws: Draws, chains: Any = None, at: Any = None) -> Draws:
    """These chains and these draws (``at``) of each, as numbers, slices or arrays; None: all."""
    sites, stats = ({n: selected(v, chains, at) for n, v in group.items()} for group in (draws.sites, draws.stats))
    history = {n: selected(v, chains) if v.dim() == 2 else v for n, v in draws.history.items()}
    before = draws.attrs.get("selected_from") or f"{draws.chains} chains of {draws.draws} draws"
    return Draws(sites, stats, history, draws.attrs | {"selected_from": before})


def concat(parts: Sequence[Draws]) -> Draws:
    """The chains of all. Raises DataError where sites, shapes, dtypes or numbers of draws differ."""
    held = [{"draws": d.draws} | {n: (tuple(v.shape[2:]), v.dtype) for n, v in d.sites.items()} for d in parts]
    for number, other in enumerate(held[1:], 1):
        odd = [k for k in dict.fromkeys([*held[0], *other]) if held[0].get(k) != other.get(k)]
        if odd:
            said = "; ".join(f"{k}: expected {held[0].get(k, 'none')}, got {other.get(k, 'none')}" for k in odd[:5])
            remedy = ": take as many of each, posterior.select(draws=slice(n))" if odd == ["draws"] else ""
            raise DataError(f"posterior {number} does not fit posterior 0: {said}{remedy}")
    sites = {n: joined([d.sites[n] for d in parts]) for n in parts[0].sites}
    common = [n for n, v in parts[0].stats.items() if all(n in d.stats and d.stats[n].dtype == v.dtype for d in parts)]
    stats = {n: torch.cat([d.stats[n] for d in parts]) for n in common}
    traced = [
        n
        for n, v in parts[0].history.items()
        if v.dim() == 2 and all(n in d.history and d.history[n].shape[1:] == v.shape[1:] for d in parts)
    ]
    return Draws(sites, stats, {n: torch.cat([d.history[n] for d in parts]) for n in traced}, _attrs(parts))


def _attrs(parts: Sequence[Draws]) -> dict[str, Any]:
    """What is the same in all, sums of what adds up, and who was joined."""
    first, *others = [d.attrs for d in parts]
    same = {k: v for k, v in first.items() if all(k in a and a[k] == v for a in others)}
    sums = {k: sum(d.attrs[k] for d in parts) for k in SUMMED if all(k in d.attrs for d in parts)}
    names = list(dict.fromkeys(d.attrs.get("backend", "unknown") for d in parts))
    doubts = list(dict.fromkeys(d.attrs["doubts"] for d in parts if d.attrs.get("doubts")))
    who = [(d.chains, d.attrs.get("backend", "unknown"), d.attrs.get("seed", "unknown")) for d in parts]
    said = [f"{chains} chains of {backend}, seed {seed}" for chains, backend, seed in who]
    return same | sums | {"backend": ", ".join(names), "joined": said, "doubts": "; ".join(doubts) or None}
