"""Uniform prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform on (−scale, scale)."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        scale = resolve(self.scale, name, shape)
        return dist.Uniform(-scale, scale).expand(shape).to_event(len(shape))
