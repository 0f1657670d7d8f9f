"""Counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ._output import need, of_columns


@dataclass(frozen=True)
class Poisson:
    """``y ~ Poisson(exp f)``: counts 0, 1, 2, …, ``[n]`` for one output, ``[n, k]`` for k; their variance is their mean.

    Where counts vary more than that, take ``NegativeBinomial``.
    """

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("Poisson", f, f.shape[-1] >= 1, "one output a target column, the logarithm of its rate")
        return of_columns(lambda log_rate: dist.Poisson(log_rate.exp()), f)
