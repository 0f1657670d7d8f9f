"""HalfNormal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class HalfNormal(Law):
    """Half-normal on the positive numbers: ``|N(0, scale²)|``."""

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.HalfNormal(resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
