"""Whether chains agree: the R-hat that chains which do agree stay below, however short they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from scipy.special import fdtri
from torch import Tensor

from . import ess_bulk, rhat

GOOD = 1.05
"""R-hat below which chains agree, where there are draws enough to tell."""
FEW = 200
"""Draws of a chain below which the limit is raised by what so few, so correlated draws cannot tell apart."""
RARELY = 1e-3
"""How often chains of independent draws from one law may be said to disagree."""


class Worst(NamedTuple):
    """Of many scalars the largest R-hat, which scalar has it (``at``), and the limit that it should stay below."""

    rhat: float
    at: int
    limit: float

    @property
    def disagree(self) -> bool:
        return self.rhat > self.limit


def rhat_limit(chains: int, draws: int, scalars: int = 1) -> float:
    """R-hat that chains of independent draws from one law exceed once in a thousand times, in any of so many scalars.

    Of 2 m half-chains of n draws, R-hat² = (F + n − 1) / n, where F has the F law with 2 m − 1 and 2 m (n − 1) degrees of
    freedom (Gelman & Rubin 1992), counted twice for the bulk and the tails. For 40 scalars of
    four chains 1.23 with 20 draws, 1.02 with 200.
    """
    halves, n = 2 * chains, draws // 2
    F = fdtri(halves - 1, halves * (n - 1), 1.0 - RARELY / (2 * max(1, scalars)))
    return float((F + n - 1) / n) ** 0.5


def worst_rhat(x: Any, good: float = GOOD) -> Worst | None:
    """The scalar of ``x [chain, draw, *shape]`` whose chains disagree most. Its limit: ``good``, or what so few draws need.

    Below ``FEW`` draws they count as the effective ones within chains, a tenth of them at least: a short run that mixes is
    not said to disagree, and chains that each stay where they are have many.

    None where R-hat says nothing: one chain, fewer than four draws, or all scalars constant or NaN. Draws that are not
    finite make a scalar NaN: look for them apart.
    """
    x = torch.as_tensor(x)
    x = x.flatten(2) if x.dim() > 2 else x[..., None]
    chains, draws, scalars = x.shape
    if chains < 2 or draws < 4 or not scalars:
        return None
    values: Tensor = rhat(x)
    if bool(values.isnan().all()):
        return None
    at = int(values.nan_to_num(nan=-torch.inf, posinf=torch.inf).argmax())
    known = int((~values.isnan()).sum())
    limit = rhat_limit(chains, draws if draws >= FEW else _effective(x[..., at]), known)
    return Worst(float(values[at]), at, max(good, limit))


def _effective(x: Tensor) -> int:
    """Effective draws of a chain of ``x [chain, draw]``, averaged over chains that are looked at one by one."""
    draws = x.shape[1]
    each = torch.stack([ess_bulk(chain[None]) for chain in x]).nan_to_num(float(draws))
    return int(each.mean().clamp(max(4.0, 0.1 * draws), draws))
