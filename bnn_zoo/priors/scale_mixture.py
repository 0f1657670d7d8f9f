"""Mixture of a wide and a narrow normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class ScaleMixture(Law):
    """``π N(0, scale²) + (1 − π) N(0, (ratio · scale)²)`` for each weight: spike and slab. Blundell et al. 2015, eq. 7.

    ``share`` is π; ``ratio``, below 1, is the width of the spike over that of the slab. Blundell et al. chose among
    π ¼, ½, ¾, −log scale 0, 1, 2 and −log(ratio · scale) 6, 7, 8.
    """

    share: float = 0.5
    ratio: float = 0.0025

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("share", "ratio"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"ScaleMixture: {name} must be between 0 and 1, got {getattr(self, name)}")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        wide = torch.as_tensor(resolve(self.scale, name, shape)).expand(shape)
        probabilities = torch.stack([wide.new_tensor(self.share), wide.new_tensor(1.0 - self.share)]).expand(*shape, 2)
        parts = dist.Normal(0.0, torch.stack([wide, self.ratio * wide], -1))
        return dist.MixtureSameFamily(dist.Categorical(probabilities), parts).to_event(len(shape))
