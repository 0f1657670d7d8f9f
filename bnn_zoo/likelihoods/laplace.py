"""Noise whose mode is the least sum of absolute errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from ..types import Prior
from ._noise import check_positive, positive
from ._output import need, of_columns


@dataclass(frozen=True)
class Laplace:
    """``y ~ Laplace(f, scale)``, density ``exp(−|y − f|/scale) / (2 scale)``: f is the median. Standard deviation √2·scale.

    y is real, ``[n]`` for one output, ``[n, k]`` for k. ``scale`` is as that of ``Gaussian``, its site ``"noise"``.
    """

    scale: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))

    def __post_init__(self) -> None:
        check_positive(self.scale, "Laplace: the noise scale")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("Laplace", f, f.shape[-1] >= 1, "one output a target column")
        return of_columns(dist.Laplace, f, positive(self.scale, "noise", f, "Laplace", f.shape[-1]))
