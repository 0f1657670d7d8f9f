"""Shares between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from ..laws import OpenBeta
from ..types import Prior
from ._noise import check_positive, positive
from ._output import need, of_columns


@dataclass(frozen=True)
class Beta:
    """``y ~ Beta(μ c, (1 − μ) c)`` with mean ``μ = sigmoid f`` and variance ``μ (1 − μ) / (1 + c)``.

    Ferrari & Cribari-Neto 2004. y lies between 0 and 1, without them, ``[n]`` for one output, ``[n, k]`` for k.
    ``concentration`` c > 0 is a number, a tensor ``[k]``, or a distribution or prior, which infers it at the site
    ``"concentration"``.
    """

    concentration: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.Gamma(2.0, 0.1))

    def __post_init__(self) -> None:
        check_positive(self.concentration, "Beta: the concentration")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("Beta", f, f.shape[-1] >= 1, "one output a target column, the logit of its mean")
        c = positive(self.concentration, "concentration", f, "Beta", f.shape[-1])
        return of_columns(lambda logit, c: OpenBeta(logit.sigmoid() * c, (-logit).sigmoid() * c), f, c)
