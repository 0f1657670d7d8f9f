"""Models whose posterior is known in closed form."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

NOISE = 0.5


def regression(x: Tensor, y: Tensor | None = None, *, size: int | None = None) -> None:
    """``w ~ N(0, 1)``, ``y ~ N(x w, 0.5²)``: a Gaussian posterior, independent where the columns are orthogonal."""
    w = pyro.sample("w", dist.Normal(torch.zeros(x.shape[1], dtype=x.dtype), 1.0).to_event(1))
    with pyro.plate("data", size or len(x), subsample=x):
        pyro.sample("y", dist.Normal(x @ w, NOISE), obs=y)


def regression_posterior(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and covariance ``[d, d]`` of ``regression``'s w: ``Σ = (xᵀx/s² + 1)⁻¹``, ``m = Σ xᵀy/s²``."""
    covariance = torch.linalg.inv(x.T @ x / NOISE**2 + torch.eye(x.shape[1], dtype=x.dtype))
    return covariance @ x.T @ y / NOISE**2, covariance


def orthogonal_design(rows: int = 64, columns: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """x with ``xᵀx = rows · 1`` and y from known weights plus noise."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=dtype))
    x = q * rows**0.5
    return x, x @ torch.linspace(-1, 2, columns, dtype=dtype) + NOISE * torch.randn(rows, generator=generator, dtype=dtype)


def correlated_design(rows: int = 64, columns: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """As ``orthogonal_design`` with columns correlated to 0.95."""
    x, _ = orthogonal_design(rows, columns, dtype)
    mix = torch.full((columns, columns), 0.95, dtype=dtype).fill_diagonal_(1.0)
    x = x @ torch.linalg.cholesky(mix).T
    generator = torch.Generator().manual_seed(1)
    return x, x.sum(1) + NOISE * torch.randn(rows, generator=generator, dtype=dtype)


def gamma_rate(y: Tensor) -> None:
    """``rate ~ Gamma(2, 1)``, ``y ~ Exponential(rate)``: posterior ``Gamma(2 + n, 1 + Σy)``, on the positive numbers."""
    rate = pyro.sample("rate", dist.Gamma(torch.tensor(2.0, dtype=y.dtype), torch.tensor(1.0, dtype=y.dtype)))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Exponential(rate), obs=y)
