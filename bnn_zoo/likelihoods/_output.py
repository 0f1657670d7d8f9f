"""What likelihoods share: the check of the network's output, and targets of one or several columns."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor


def need(law: str, f: Tensor, fits: bool, expected: str) -> None:
    """Raise ValueError unless the network's output ``f [..., n, outputs]`` is what the likelihood ``law`` takes."""
    if f.dim() < 2 or not fits:
        raise ValueError(
            f"{law} expects the network to give [rows, outputs] with {expected}, got {tuple(f.shape)}: "
            "change the size of the last layer"
        )


def normal(loc: Tensor, scale: Any) -> Any:
    """Normal over a row: one output column means y is ``[n]``, several mean y is ``[n, k]``."""
    if loc.shape[-1] == 1:
        scale = scale.squeeze(-1) if isinstance(scale, Tensor) and scale.dim() else scale
        return dist.Normal(loc.squeeze(-1), scale)
    return dist.Normal(loc, scale).to_event(1)
