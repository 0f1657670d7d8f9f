"""The Euclidean metric of Hamiltonian samplers: momentum p ~ N(0, M), kinetic energy pᵀ M⁻¹ p / 2. Neal 2011, eq. 5.6.

M⁻¹ is meant to approximate the posterior's covariance. It is kept per chain; chains may share one by expansion.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .._tree import node
from ..types import Randomness


class Metric(Protocol):
    """What integrators and kernels need to know of the mass matrix. A named tuple of tensors, so it can enter a graph."""

    def __iter__(self) -> Iterator[Tensor]: ...

    def sample(self, random: Randomness) -> Tensor:
        """Momenta ``[chain, dim]``."""

    def velocity(self, p: Tensor) -> Tensor:
        """``M⁻¹ p``, ``[chain, dim]``."""


def kinetic(metric: Metric, p: Tensor) -> Tensor:
    """Kinetic energy ``[chain]``."""
    return 0.5 * (p * metric.velocity(p)).sum(-1)


@node
class Diagonal(NamedTuple):
    """``M⁻¹ = diag(variance)``, variance ``[chain, dim]``."""

    variance: Tensor

    def sample(self, random: Randomness) -> Tensor:
        return random.normal(self.variance.shape[-1]) * self.variance.rsqrt()

    def velocity(self, p: Tensor) -> Tensor:
        return self.variance * p


@node
class Dense(NamedTuple):
    """``M⁻¹ = covariance``, ``[chain, dim, dim]``, with its lower Cholesky factor."""

    covariance: Tensor
    cholesky: Tensor

    def sample(self, random: Randomness) -> Tensor:
        L, z = self.cholesky, random.normal(self.cholesky.shape[-1])
        return torch.linalg.solve_triangular(L.mT, z.unsqueeze(-1), upper=True).squeeze(-1)  # p = L⁻ᵀ z

    def velocity(self, p: Tensor) -> Tensor:
        return (p.unsqueeze(-2) @ self.covariance).squeeze(-2)  # symmetric, and so read along its rows
