"""Student-t prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class StudentT(Law):
    """Student-t with mean 0, scale ``scale`` and ``df`` degrees of freedom: heavier tails than the normal.

    Its standard deviation is ``scale · √(df / (df − 2))`` for df > 2. Fortuin et al. 2022 find such tails in the
    weights of trained networks.
    """

    df: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("df")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        scale = resolve(self.scale, name, shape)
        return dist.StudentT(self.df, 0.0, scale).expand(shape).to_event(len(shape))
