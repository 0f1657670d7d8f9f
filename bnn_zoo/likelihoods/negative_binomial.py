"""Counts that vary more than a Poisson law's."""

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
class NegativeBinomial:
    """Counts of mean ``μ = exp f`` and variance ``μ + μ²/c``: a Poisson law whose rate is gamma. Cameron & Trivedi 1986.

    y is 0, 1, 2, …, ``[n]`` for one output, ``[n, k]`` for k. ``concentration`` c > 0 is a number, a tensor ``[k]``, or a
    distribution or prior, which infers it at the site ``"concentration"``; the larger, the nearer to ``Poisson``.
    """

    concentration: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.Gamma(2.0, 0.1))

    def __post_init__(self) -> None:
        check_positive(self.concentration, "NegativeBinomial: the concentration")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("NegativeBinomial", f, f.shape[-1] >= 1, "one output a target column, the logarithm of its mean")
        c = positive(self.concentration, "concentration", f, "NegativeBinomial", f.shape[-1])
        return of_columns(lambda log_mean, c: dist.GammaPoisson(c, c * (-log_mean).exp()), f, c)
