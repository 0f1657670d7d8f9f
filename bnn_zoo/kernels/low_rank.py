"""Mass matrices with correlations, learnt from draws and gradients together: all of them, or a few directions of most.

Seyboldt, Carlson & Carpenter 2026 (nutpie). In units of the diagonal, and in the space that draws and gradients span, the
covariance Σ that minimises the Fisher divergence solves ``Σ cov(gradients) Σ = cov(draws)``: the geometric mean of
cov(draws) and cov(gradients)⁻¹. Of a normal posterior that is its covariance, wherever the draws lie, once there are more of
them than dimensions; a covariance of draws needs draws that have found the posterior, and many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .._tree import node
from ..types import Randomness
from .mass import moving

REGULAR, LITTLE = 1e-5, 1e-8
"""Added to the variances of draws and gradients along a direction, in units of the diagonal's: where there are
fewer draws than twice the dimensions, so that some directions have none, and where there are more."""


@node
class LowRank(NamedTuple):
    """``M⁻¹ = σ (1 + V (Λ − 1) Vᵀ) σ``: σ ``[chain, dim]``, orthonormal V ``[chain, dim, rank]`` and Λ ``[chain, rank]``."""

    scale: Tensor
    vectors: Tensor
    values: Tensor

    def sample(self, random: Randomness) -> Tensor:
        return self._stretched(random.normal(self.scale.shape[-1]), self.values.rsqrt()) / self.scale

    def velocity(self, p: Tensor) -> Tensor:
        return self.scale * self._stretched(self.scale * p, self.values)

    def _stretched(self, z: Tensor, by: Tensor) -> Tensor:
        along = (self.vectors * z.unsqueeze(-1)).sum(-2)
        return z + (self.vectors * ((by - 1.0) * along).unsqueeze(-2)).sum(-1)


@node
@dataclass
class Kept:
    """Draws and gradients of a window themselves; beyond ``most``, every second one is dropped and comes no more."""

    most: int
    draws: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    every: int = 1
    count: int = 0

    def update(self, position: Tensor, gradient: Tensor) -> None:
        if self.count % self.every == 0:
            self.draws.append(position)
            self.gradients.append(gradient)
        self.count += 1
        if len(self.draws) > self.most:
            self.draws, self.gradients, self.every = self.draws[::2], self.gradients[::2], 2 * self.every


@dataclass(frozen=True)
class LowRankFisherMass:
    """``FisherMass`` with the ``rank`` directions in which posterior and diagonal differ most. For strong correlations in
    dimensions too many for ``DenseMass``.

    Of the eigenvectors of Σ, in units of the diagonal, those are used whose eigenvalue is above ``cutoff`` or below its
    inverse. Algorithm and cutoff: Seyboldt, Carlson & Carpenter 2026 (nutpie).

    rank
        the most directions a chain uses; each costs 2 · dim multiplications a leapfrog step.
    keep
        the most draws of each chain that a window keeps: memory is 2 · keep · dim numbers a chain.
    """

    pooled: bool = True
    rank: int = 10
    cutoff: float = 2.0
    keep: int = 400

    def __post_init__(self) -> None:
        if self.rank < 1 or self.keep < 10 or not self.cutoff >= 1.0:
            raise ValueError(
                f"LowRankFisherMass needs rank >= 1, keep >= 10 and cutoff >= 1, got {self.rank}, {self.keep}, {self.cutoff}"
            )

    def start(self, position: Tensor) -> LowRank:
        chains, dim = position.shape
        rank = min(self.rank, dim)
        vectors = torch.eye(dim, rank, dtype=position.dtype, device=position.device).expand(chains, -1, -1)
        return LowRank(torch.ones_like(position), vectors, position.new_ones(chains, rank))

    def estimator(self) -> Kept:
        return Kept(self.keep)

    @property
    def early(self) -> LowRankFisherMass:
        return self

    def estimate(self, seen: Kept) -> LowRank:
        parts = centred(seen, self.pooled)
        if not parts:
            return self.start(seen.draws[0])
        each = zip(*(self._one(x, g) for x, g in parts), strict=True)
        scale, vectors, values = (torch.stack(part).to(seen.draws[0].dtype) for part in each)
        full = len(seen.draws[0]) if self.pooled else -1
        return LowRank(scale.expand(full, -1), vectors.expand(full, -1, -1), values.expand(full, -1))

    def _one(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """σ, V and Λ from centred draws and gradients ``[n, dim]``."""
        dim = x.shape[1]
        scale, basis, sigma = fisher(x, g)
        values, within = torch.linalg.eigh(sigma)
        far = values.log().abs()
        used = far.topk(min(self.rank, dim, len(far))).indices
        values = torch.where(far[used] > torch.tensor(self.cutoff).log(), values[used], 1.0)
        vectors = basis @ within[:, used]
        lacking = min(self.rank, dim) - len(used)
        return scale, pad(vectors, (0, lacking)), pad(values, (0, lacking), value=1.0)


def centred(seen: Kept, pooled: bool) -> list[tuple[Tensor, Tensor]]:
    """Draws and gradients ``[n, dim]`` in float64, less their mean in each chain: of all chains together, or, not
    ``pooled``, of each. Chains that are stuck or lost are left out, or take the others'; where all are, nothing is returned.
    """
    draws, gradients = (torch.stack(each, 1).double() for each in (seen.draws, seen.gradients))  # [chain, n, dim]
    draws, gradients = (each - each.mean(1, keepdim=True) for each in (draws, gradients))
    good = moving(draws.square().mean(1), gradients.square().mean(1))
    if not bool(good.any()):
        return []
    whole = draws[good].flatten(0, 1), gradients[good].flatten(0, 1)
    return [whole] if pooled else [(draws[c], gradients[c]) if good[c] else whole for c in range(len(draws))]


def scales(x: Tensor, g: Tensor) -> Tensor:
    """σ ``[dim]`` of ``FisherMass``: the root of sd(draws) / sd(gradients), from centred ones ``[n, dim]``."""
    tiny = torch.finfo(torch.float32).tiny ** 0.5
    spread = x.square().mean(0).clamp(min=tiny), g.square().mean(0).clamp(min=tiny)
    return (spread[0] / spread[1]).pow(0.25).clamp(1e-5, 1e5)


def fisher(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """σ ``[dim]``, an orthonormal basis ``[dim, m]`` of what is known, and Σ ``[m, m]`` in it and in units of σ, from
    centred draws and gradients ``[n, dim]``."""
    n, scale = len(x), scales(x, g)
    x, g = x / scale / n**0.5, g * scale / n**0.5
    basis = _basis(x, g)
    added = (LITTLE if n > 2 * x.shape[1] else REGULAR) * torch.eye(basis.shape[1]).to(x)
    cov_x, cov_g = ((a @ basis).mT @ (a @ basis) + added for a in (x, g))
    return scale, basis, _geometric_mean(cov_x, cov_g)


def _basis(x: Tensor, g: Tensor) -> Tensor:
    """Orthonormal columns ``[dim, m]`` that span the draws and the gradients, each scaled to matter alike."""
    both = torch.cat([x / torch.linalg.matrix_norm(x), g / torch.linalg.matrix_norm(g)])
    _, size, rows = torch.linalg.svd(both, full_matrices=False)
    return rows[size > 1e-6 * size[0]].mT


def _geometric_mean(a: Tensor, b: Tensor) -> Tensor:
    """The positive definite Σ with ``Σ b Σ = a``: ``b^−½ (b^½ a b^½)^½ b^−½``."""
    root, inverse = _power(b, 0.5), _power(b, -0.5)
    return inverse @ _power(root @ a @ root, 0.5) @ inverse


def _power(a: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(0.5 * (a + a.mT))
    return (vectors * values.clamp(min=1e-14 * float(values[-1])).pow(exponent)) @ vectors.mT
