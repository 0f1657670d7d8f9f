"""LogNormal prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class LogNormal(Law):
    """On the positive numbers: the logarithm is normal with mean ``log(median)`` and standard deviation ``scale``."""

    median: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("median")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return dist.LogNormal(math.log(self.median), resolve(self.scale, name, shape)).expand(shape).to_event(len(shape))
