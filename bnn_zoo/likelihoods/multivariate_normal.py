"""Normal noise that is correlated between the columns of y."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from .._scope import factory
from ..laws import check_scale
from ..types import Prior
from ._noise import check_positive, positive_each
from ._output import need


@dataclass(frozen=True)
class MultivariateNormal:
    """``y ~ N(f, D R D)``: y and f are ``[n, k]``, k ≥ 2; the noise has standard deviations D and correlations R.

    ``scale``, the k standard deviations in y's units: a number or a tensor ``[k]`` fixes them, a distribution or prior
    infers them at the site ``"noise"`` ``[k]``, each column its own. The lower Cholesky factor of R is inferred at the site
    ``"correlation_cholesky"`` ``[k, k]`` under the law of Lewandowski, Kurowicka & Joe 2009: R has a density proportional to
    ``det(R)^(concentration − 1)``, with 1 the uniform law over correlation matrices, above 1 nearer to no correlation.
    For independent columns take ``Gaussian``.
    """

    scale: float | Tensor | Distribution | Prior = field(default_factory=lambda: dist.HalfNormal(1.0))
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.scale, "MultivariateNormal: the noise scale")
        check_scale(self.concentration, "MultivariateNormal: the concentration")

    def out_features(self, columns: int = 1) -> int:
        """One a column."""
        return columns

    def __call__(self, f: Tensor) -> Any:
        need("MultivariateNormal", f, f.shape[-1] >= 2, "one output a target column, at least two (for one use Gaussian)")
        columns = f.shape[-1]
        scale = positive_each(self.scale, "noise", f, "MultivariateNormal", columns)
        with factory(f.device, f.dtype):
            factor = pyro.sample("correlation_cholesky", dist.LKJCholesky(columns, f.new_tensor(float(self.concentration))))
        return dist.MultivariateNormal(f, scale_tril=scale[:, None] * factor)
