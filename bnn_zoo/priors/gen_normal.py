"""GenNormal prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..laws import GeneralisedNormal
from .scale import Law, resolve


@dataclass(frozen=True)
class GenNormal(Law):
    """Generalised normal: density ∝ ``exp(−(|w|/scale)^power)``. Power 2 is a normal of sd scale/√2, 1 is Laplace.

    Powers below 1 have a peak without a slope at 0, and tails heavier than Laplace's. Nadarajah 2005; Fortuin et al. 2022.
    """

    power: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("power")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        scale = torch.as_tensor(resolve(self.scale, name, shape))
        return GeneralisedNormal(scale, self.power).expand(shape).to_event(len(shape))
