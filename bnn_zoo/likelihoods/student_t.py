"""Noise with outliers."""

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
class StudentT:
    """``y ~ f + scale · t(df)``: rows far off the others pull less than under a normal. Lange, Little & Taylor 1989.

    y is real, ``[n]`` for one output, ``[n, k]`` for k. ``scale`` is as that of ``Gaussian``, its site ``"noise"``; ``df``,
    the degrees of freedom, likewise, its site ``"df"``. The standard deviation of y is ``scale · √(df / (df − 2))``, for
    df > 2 alone: below, predictions have an infinite ``sd``, or none.
    """

    scale: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))
    df: float | Tensor | Distribution | Prior = 4.0

    def __post_init__(self) -> None:
        check_positive(self.scale, "StudentT: the noise scale")
        check_positive(self.df, "StudentT: df")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("StudentT", f, f.shape[-1] >= 1, "one output a target column")
        df = positive(self.df, "df", f, "StudentT", f.shape[-1])
        scale = positive(self.scale, "noise", f, "StudentT", f.shape[-1])
        return of_columns(lambda loc, scale, df: dist.StudentT(df, loc, scale), f, scale, df)
