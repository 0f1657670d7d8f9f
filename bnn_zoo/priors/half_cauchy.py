"""HalfCauchy prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class HalfCauchy(Law):
    """Half-Cauchy on the positive numbers: median ``scale``, no mean. Gelman 2006, for scales of groups."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.HalfCauchy(resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
