"""Mass matrices with all correlations: from the covariance of the draws, or from draws and gradients together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .low_rank import LITTLE, REGULAR, Kept, centred, fisher, scales
from .mass import Welford, moving, shared
from .metric import Dense


@dataclass(frozen=True)
class DenseMass:
    """As ``DiagonalMass`` with the whole covariance: for up to a few hundred strongly correlated dimensions.

    Shrunk towards its own diagonal, which keeps it positive definite whatever the units: by ``5e-3 / (n + 5)``, or by
    ``d / (n + d)`` while there are few draws for d dimensions.
    """

    pooled: bool = True

    @property
    def early(self) -> DenseFisherMass:
        return DenseFisherMass(self.pooled)

    def start(self, position: Tensor) -> Dense:
        return unit(position)

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


@dataclass(frozen=True)
class DenseFisherMass:
    """``FisherMass`` with all correlations: for up to some hundred dimensions. Right from few draws, for a normal posterior.
    Seyboldt, Carlson & Carpenter 2026 (nutpie).

    While there are fewer draws than twice the dimensions it is ``FisherMass``: the directions that draws of a network on its
    way span are those of the way. keep: as of ``LowRankFisherMass``.
    """

    pooled: bool = True
    keep: int = 400

    def __post_init__(self) -> None:
        if self.keep < 10:
            raise ValueError(f"DenseFisherMass needs keep >= 10, got {self.keep}")

    @property
    def early(self) -> DenseFisherMass:
        return self

    def start(self, position: Tensor) -> Dense:
        return unit(position)

    def estimator(self) -> Kept:
        return Kept(self.keep)

    def estimate(self, seen: Kept) -> Dense:
        parts = centred(seen, self.pooled)
        if not parts:
            return self.start(seen.draws[0])
        covariance = torch.stack([self._one(x, g) for x, g in parts])
        dtype = seen.draws[0].dtype
        made = positive_definite(covariance, LITTLE if dtype == torch.float64 else REGULAR)  # what its digits can hold
        full = len(seen.draws[0]) if self.pooled else -1
        return Dense(*(part.to(dtype).expand(full, -1, -1) for part in made))

    def _one(self, x: Tensor, g: Tensor) -> Tensor:
        if len(x) < 2 * x.shape[1]:
            return torch.diag(scales(x, g).square())
        scale, basis, sigma = fisher(x, g)
        eye = torch.eye(len(sigma)).to(sigma)
        around = torch.eye(len(scale)).to(scale) + basis @ (sigma - eye) @ basis.mT
        return scale[:, None] * around * scale


def unit(position: Tensor) -> Dense:
    """The unit matrix for each chain of ``position [chain, dim]``."""
    eye = torch.eye(position.shape[-1], dtype=position.dtype, device=position.device).expand(len(position), -1, -1)
    return Dense(eye, eye)


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
