"""Laplace prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class Laplace(Law):
    """Laplace with density ``exp(−|w|/scale) / (2 scale)``; sd √2·scale. MAP under it is the lasso (Tibshirani 1996)."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.Laplace(0.0, resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
