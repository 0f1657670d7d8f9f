"""Cauchy prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class Cauchy(Law):
    """Cauchy around 0 with half-width ``scale``: no mean, tails heavier than any of Student's with more freedom."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.Cauchy(0.0, resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
