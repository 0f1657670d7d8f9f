"""Gaussian noise of one size."""

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
class Gaussian:
    """``y ~ N(f, scale²)``, y real, ``[n]`` for one output, ``[n, k]`` for k.

    ``scale``: a number fixes the noise's standard deviation (in y's units), a tensor ``[k]`` that of each column; a Pyro
    distribution or a prior infers it at the site ``"noise"``. Tensors and distributions follow the device and dtype of f.
    The default, half-normal with scale 1, suits standardised targets.
    """

    scale: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))

    def __post_init__(self) -> None:
        check_positive(self.scale, "Gaussian: the noise scale")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("Gaussian", f, f.shape[-1] >= 1, "one output a target column")
        return of_columns(dist.Normal, f, positive(self.scale, "noise", f, "Gaussian", f.shape[-1]))
