"""A few draws in place of many, with nearly the same predictive law."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..types import Draws

MOST = 4_000
"""Draws that are candidates; of more, so many evenly spaced."""
ROUNDS = 20
"""Times that each chosen draw may be exchanged for a better one."""


def energy_distances(f: Tensor) -> Tensor:
    """``[draw, draw]``: distances ``Σ |f_a − f_b|`` over rows and outputs, of functions ``[draw, …]``, in their mean."""
    flat = f.flatten(1).double()
    return torch.cdist(flat, flat, p=1.0) / flat.shape[1]


def energy(distances: Tensor, chosen: Tensor) -> float:
    """Energy distance of the law of the ``chosen`` draws from that of all, ``2 E|X − Y| − E|X − X'| − E|Y − Y'|``, a mean
    over rows; 0 where they are the same. Székely & Rizzo 2013, eq. 5."""
    between, own = distances[chosen].mean(), distances[chosen][:, chosen].mean()
    return float(2.0 * between - own - distances.mean())


def representative(distances: Tensor, count: int) -> Tensor:
    """So many draws, in order, whose law has a small energy distance from that of all: support points among the draws.

    Greedy, then by exchanges that make it smaller until none does. Mak & Joseph 2018, eq. 3, with the draws themselves as
    candidates. The same for the same distances.
    """
    to_all = distances.mean(1)
    chosen: list[int] = []
    sums = torch.zeros_like(to_all)  # of the distances to the chosen
    for size in range(1, count + 1):
        gain = 2.0 * to_all / size - 2.0 * sums / size**2
        gain[chosen] = torch.inf
        best = int(gain.argmin())
        chosen.append(best)
        sums += distances[best]
    for _ in range(ROUNDS):
        changed = False
        for place, old in enumerate(chosen):
            rest = sums - distances[old]
            cost = 2.0 * to_all / count - 2.0 * rest / count**2
            cost[[c for c in chosen if c != old]] = torch.inf
            new = int(cost.argmin())
            if float(cost[new]) < float(cost[old]) - 1e-12:
                chosen[place], sums, changed = new, rest + distances[new], True
        if not changed:
            break
    return torch.tensor(sorted(chosen))


def compacted(draws: Draws, f: Mapping[str, Tensor], count: int) -> Draws:
    """``count`` draws of all chains as one chain, by ``f [chain, draw, …]`` of each observed site."""
    total = draws.chains * draws.draws
    candidates = torch.linspace(0, total - 1, min(total, MOST)).round().long()
    flat = [v.flatten(0, 1)[candidates].flatten(1) for v in f.values()]
    distances = energy_distances(torch.cat(flat, 1))
    chosen = representative(distances, count)
    even = torch.linspace(0, len(candidates) - 1, count).round().long()
    chain, draw = candidates[chosen] // draws.draws, candidates[chosen] % draws.draws
    places = list(zip(chain.tolist(), draw.tolist(), strict=True))
    sites = {n: torch.stack([torch.as_tensor(v[c, d]) for c, d in places])[None] for n, v in draws.sites.items()}
    stats = {n: v[chain, draw][None] for n, v in draws.stats.items()}
    said = {
        "selected_from": f"{draws.chains} chains of {draws.draws} draws",
        "energy_distance": energy(distances, chosen),
        "energy_distance_evenly_spaced": energy(distances, even),
    }
    return Draws(sites, stats, {}, draws.attrs | said)
