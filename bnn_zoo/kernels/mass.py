"""Mass matrices learnt in warm-up: from the variances of the draws, or from draws and gradients together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .._tree import node
from .metric import Dense, Diagonal, Metric


@node
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


@node
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


def moving(*variances: Tensor) -> Tensor:
    """``[chain]``: chains whose variances ``[chain, …]`` are all finite and not all zero. Others are stuck or lost, and say
    nothing of the posterior's scales."""
    flat = torch.stack([(v.isfinite() & (v >= 0)).flatten(1).all(1) & (v > 0).flatten(1).any(1) for v in variances])
    return flat.all(0)


def shared(each: Tensor, good: Tensor, pooled: bool) -> Tensor:
    """Of ``each [chain, …]`` the mean over ``good [chain]`` chains, for all or, not ``pooled``, for the others only."""
    mean = each[good].mean(0, keepdim=True)
    chosen = good.reshape(-1, *[1] * (each.dim() - 1))
    return mean.expand_as(each) if pooled else torch.where(chosen, each, mean)


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

    ``pooled=False`` gives each chain its own. Shrunk as in Stan: ``(n v + 5 · 1e-3) / (n + 5)``. Here as in the other mass
    matrices a chain that never moved, or whose draws are not finite, is left out and takes the others' mean.
    """

    pooled: bool = True

    def start(self, position: Tensor) -> Diagonal:
        return Diagonal(torch.ones_like(position))

    def estimator(self) -> Welford:
        return Welford()

    def estimate(self, seen: Welford) -> Diagonal:
        variance, n, good = seen.variance, seen.count, moving(seen.variance)
        if not bool(good.any()):
            return Diagonal(torch.ones_like(variance))
        variance = shared(variance, good, self.pooled)
        n = n * int(good.sum()) if self.pooled else n
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
        good = moving(draws, gradients)
        if not bool(good.any()):
            return Diagonal(torch.ones_like(draws))
        draws, gradients = shared(draws, good, self.pooled), shared(gradients, good, self.pooled)
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
        good = moving(covariance.diagonal(dim1=-2, dim2=-1)) & covariance.isfinite().all(-1).all(-1)
        if not bool(good.any()):
            return self.start(seen.mean)
        covariance = shared(covariance, good, self.pooled)
        chains, dim = seen.mean.shape
        if self.pooled:
            covariance, n = covariance[:1], n * int(good.sum())
        shrink = 5e-3 / (n + 5.0) if n > 2 * dim else dim / (n + dim)
        covariance, cholesky = positive_definite(covariance, shrink)
        return Dense(covariance.expand(chains, -1, -1), cholesky.expand(chains, -1, -1))


def positive_definite(covariance: Tensor, shrink: float) -> tuple[Tensor, Tensor]:
    """``(1 − shrink) Σ + shrink diag(Σ)`` and its Cholesky factor, for ``Σ [chain, dim, dim]``.

    Where rounding leaves no positive definite matrix, ten times the shrinkage, and so on: at 1 only the diagonal is left.
    A coordinate that never moved takes the smallest variance of the others.
    """
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    moved = diagonal > 0
    least = diagonal.masked_fill(~moved, torch.inf).amin(-1, keepdim=True)
    covariance = covariance + torch.diag_embed(torch.where(moved, 0.0, least))
    only = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    share = covariance.new_full((len(covariance), 1, 1), shrink)
    while True:
        shrunk = torch.lerp(covariance, only, share)
        cholesky, failed = torch.linalg.cholesky_ex(shrunk)
        again = (failed > 0)[:, None, None] & (share < 1.0)
        if not bool(again.any()):
            return shrunk, cholesky
        share = torch.where(again, (10.0 * share).clamp(max=1.0), share)
