"""Mass matrices learnt in warm-up: from the variances of the draws, or from draws and gradients together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .._tree import node
from .metric import Diagonal, Metric


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
    """A rule from what was seen in warm-up to a metric. ``pooled``: one for all chains of a process, or one for each.

    A rule may have another for the first, short windows, ``early``, whose metrics are of the same type.
    """

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

    @property
    def early(self) -> FisherMass:
        return FisherMass(self.pooled)

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

    @property
    def early(self) -> FisherMass:
        return self

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
