"""Mass matrices learnt in warm-up: from the variances of the draws, or from draws and gradients together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .metric import Dense, Diagonal, Metric


@dataclass
class Welford:
    """Running mean and (co)variance of positions, per chain: numerically stable one-pass update. Welford 1962."""

    dense: bool = False
    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(0))
    m2: Tensor = field(default_factory=lambda: torch.zeros(0))

    def update(self, position: Tensor, gradient: Tensor | None = None) -> None:
        if self.count == 0:
            self.mean = torch.zeros_like(position)
            shape = (*position.shape, position.shape[-1]) if self.dense else position.shape
            self.m2 = position.new_zeros(shape)
        self.count += 1
        delta = position - self.mean
        self.mean = self.mean + delta / self.count
        after = position - self.mean
        self.m2 = self.m2 + (delta.unsqueeze(-1) * after.unsqueeze(-2) if self.dense else delta * after)

    @property
    def variance(self) -> Tensor:
        """``[chain, dim]``, or with ``dense`` ``[chain, dim, dim]``."""
        return self.m2 / (self.count - 1)


@dataclass
class Scores:
    """Variances of draws and of their gradients (scores), per chain."""

    draws: Welford = field(default_factory=Welford)
    gradients: Welford = field(default_factory=Welford)

    @property
    def count(self) -> int:
        return self.draws.count

    def update(self, position: Tensor, gradient: Tensor) -> None:
        self.draws.update(position)
        self.gradients.update(gradient)


@runtime_checkable
class MassMatrix(Protocol):
    """A rule from what was seen in warm-up to a metric. ``pooled``: one for all chains of a process, or one for each."""

    @property
    def pooled(self) -> bool: ...

    def start(self, position: Tensor) -> Any: ...

    def estimator(self) -> Any: ...

    def estimate(self, seen: Any) -> Metric: ...


@dataclass(frozen=True)
class DiagonalMass:
    """Mass matrix: the variances of the warm-up draws, each chain around its own mean, averaged over the chains.

    ``pooled=False`` gives each chain its own. Shrunk as in Stan: ``(n v + 5 · 1e-3) / (n + 5)``.
    """

    pooled: bool = True

    def start(self, position: Tensor) -> Diagonal:
        return Diagonal(torch.ones_like(position))

    def estimator(self) -> Welford:
        return Welford()

    def estimate(self, seen: Welford) -> Diagonal:
        variance, n = seen.variance, seen.count
        if self.pooled:
            n = n * len(variance)
            variance = variance.mean(0, keepdim=True).expand_as(variance)
        return Diagonal((n * variance + 5e-3) / (n + 5.0))


@dataclass(frozen=True)
class FisherMass:
    """Diagonal mass matrix ``M⁻¹ = sd(draws) / sd(gradients)``, which minimises the Fisher divergence between the
    posterior and a Gaussian of that covariance. Seyboldt, Carlson & Carpenter 2026 (nutpie).

    Gradients say as much as draws, and sooner: right from few draws, and not misled by a slow drift of the draws.
    ``pooled=False`` gives each chain its own.
    """

    pooled: bool = True

    def start(self, position: Tensor) -> Diagonal:
        return Diagonal(torch.ones_like(position))

    def estimator(self) -> Scores:
        return Scores()

    def estimate(self, seen: Scores) -> Diagonal:
        draws, gradients = seen.draws.variance, seen.gradients.variance
        if self.pooled:
            draws = draws.mean(0, keepdim=True).expand_as(draws)
            gradients = gradients.mean(0, keepdim=True).expand_as(gradients)
        tiny = torch.finfo(draws.dtype).tiny ** 0.5
        return Diagonal((draws.clamp(min=tiny) / gradients.clamp(min=tiny)).sqrt().clamp(1e-10, 1e10))


@dataclass(frozen=True)
class DenseMass:
    """As ``DiagonalMass`` with the whole covariance: for up to a few hundred strongly correlated dimensions.

    Shrunk towards its own diagonal, which keeps it positive definite whatever the units: by ``5e-3 / (n + 5)``, or by
    ``d / (n + d)`` while there are few draws for d dimensions.
    """

    pooled: bool = True

    def start(self, position: Tensor) -> Dense:
        eye = torch.eye(position.shape[-1], dtype=position.dtype, device=position.device)
        eye = eye.expand(len(position), -1, -1)
        return Dense(eye, eye)

    def estimator(self) -> Welford:
        return Welford(dense=True)

    def estimate(self, seen: Welford) -> Dense:
        covariance, n = seen.variance, seen.count
        if self.pooled:
            n = n * len(covariance)
            covariance = covariance.mean(0, keepdim=True)
        eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        dim = covariance.shape[-1]
        shrink = 5e-3 / (n + 5.0) if n > 2 * dim else dim / (n + dim)
        covariance = (1.0 - shrink) * covariance + shrink * eye * (covariance * eye).sum(-1, keepdim=True)
        chains = len(seen.mean)
        cholesky = torch.linalg.cholesky(covariance)
        return Dense(covariance.expand(chains, -1, -1), cholesky.expand(chains, -1, -1))
