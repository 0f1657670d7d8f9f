"""Ranks of draws and their normal scores, many scalars at a time, ``[P, N]``: one sort each, ties sharing a rank."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

LARGEST = torch.finfo(torch.float64).max
SPARE = {torch.float32: 29, torch.float64: 0}  # low bits of a float64 that a number of this type leaves at zero


def normal_scores(x: Tensor) -> tuple[Tensor, Tensor]:
    """z = Phi^-1((rank - 3/8) / (N + 1/4)) of ``x [P, chain, n]``, float64, and x in order ``[P, N]``.

    Ranks are over all chains, ties share their average (Vehtari et al. 2021, eq. 14). x holds no NaN.
    """
    values, order = _in_order(x.flatten(1))
    table = _table(values.shape[1], x.device)
    z = torch.empty_like(values, dtype=torch.float64).scatter_(1, order, table[::2].expand(values.shape))
    _share(z, values, order, table)
    return z.view(x.shape), values


@lru_cache(maxsize=4)
def _table(N: int, device: torch.device) -> Tensor:
    """Normal scores of the ranks 1, 3/2, 2, ..., N: the average of ties lies half-way between ranks."""
    ranks = torch.arange(2 * N - 1, device=device, dtype=torch.float64) / 2 + 1
    return torch.special.ndtri((ranks - 3 / 8) / (N + 1 / 4))


def in_order(x: Tensor) -> Tensor:
    """Rows of ``x [P, N]`` sorted; numpy's sort is several times as fast as torch's on a CPU."""
    return x.sort(dim=1).values if x.device.type != "cpu" else torch.from_numpy(np.sort(x.numpy(), axis=1))


def _in_order(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows sorted, and where each value was.

    On a CPU the places ride in the lowest bits of the values as float64, because sorting numbers is four times as fast as
    sorting their places. What float32 holds is not touched by that; float64 neighbours that agree in all other bits may
    come out in the wrong order, which is then mended.
    """
    if x.device.type != "cpu":
        values, order = x.sort(dim=1)
        return values, order
    N = x.shape[1]
    bits = (N - 1).bit_length()
    keys = x.to(torch.float64, copy=True).clamp_(-LARGEST, LARGEST)  # an infinity with a place in its bits would be a NaN
    places = keys.view(torch.int64)
    places.bitwise_and_(-1 << bits).bitwise_or_(torch.arange(N, device=x.device))
    keys.numpy().sort(axis=1)
    order = places.bitwise_and_((1 << bits) - 1)
    values = x.gather(1, order)
    if bits > SPARE[x.dtype]:
        _mend(x, values, order)
    return values, order


def _mend(x: Tensor, values: Tensor, order: Tensor) -> None:
    """Swap neighbours that are in the wrong order; sort their rows afresh where that does not do."""
    N = x.shape[1]
    at = _neighbours(torch.lt, values)
    if len(at) == 0:
        return
    for flat in (values.view(-1), order.view(-1)):
        flat[at], flat[at + 1] = flat[at + 1], flat[at]
    v = values.view(-1)
    left, right = at[at % N > 0], at[at % N < N - 2]
    still = torch.cat([left[v[left - 1] > v[left]], right[v[right + 1] > v[right + 2]]])  # also where three were wrong
    rows = (still // N).unique()
    order[rows] = torch.from_numpy(np.argsort(x[rows].numpy(), axis=1))
    values[rows] = x[rows].gather(1, order[rows])


def _share(z: Tensor, values: Tensor, order: Tensor, table: Tensor) -> None:
    """Give ties, neighbours in ``values``, the score of their average rank, in place."""
    at, N = _neighbours(torch.eq, values), values.shape[1]
    if len(at) == 0:
        return
    starts = torch.ones_like(at, dtype=torch.bool)
    starts[1:] = at.diff() != 1
    run = starts.cumsum(0) - 1
    shared = table[2 * (at[starts] % N) + run.bincount()][run]  # first + last place of each run
    row = at - at % N
    for tied in (at, at + 1):
        z.view(-1)[row + order.view(-1)[tied]] = shared


def _neighbours(compare: Callable[..., Tensor], values: Tensor) -> Tensor:
    """Flat places i with ``compare(values[i + 1], values[i])``, both in one row."""
    mask = torch.zeros_like(values, dtype=torch.bool)
    compare(values[:, 1:], values[:, :-1], out=mask[:, :-1])
    if mask.device.type != "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))
