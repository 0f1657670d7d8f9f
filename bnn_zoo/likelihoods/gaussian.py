"""Gaussian noise of one size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from ..types import Prior
from ._output import need, normal


@dataclass(frozen=True)
class Gaussian:
    """``y ~ N(f, scale²)``, y real, ``[n]`` for one output, ``[n, k]`` for k.

    ``scale``: a number fixes the noise's standard deviation (in y's units); a Pyro distribution or a prior infers it at
    the site ``"noise"``. The default, half-normal with scale 1, suits standardised targets.
    """

    scale: float | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))

    def __post_init__(self) -> None:
        if isinstance(self.scale, float | int) and not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"Gaussian: the noise scale must be a finite number > 0, got {self.scale}")
        if isinstance(self.scale, type) or not (isinstance(self.scale, float | int | Distribution) or callable(self.scale)):
            raise TypeError(
                "Gaussian: the noise scale must be a number, a distribution or a prior such as HalfNormal(1.0); got "
                f"{self.scale!r}"
            )

    def __call__(self, f: Tensor) -> Any:
        need("Gaussian", f, f.shape[-1] >= 1, "one output a target column")
        if isinstance(self.scale, float | int):
            return normal(f, self.scale)
        law = self.scale if isinstance(self.scale, Distribution) else self.scale("noise", torch.Size())
        return normal(f, pyro.sample("noise", law))
