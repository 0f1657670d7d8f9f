"""Normal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class Normal(Law):
    """Normal with mean 0 and standard deviation ``scale``: weight decay ``1/scale²``."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.Normal(0.0, resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
