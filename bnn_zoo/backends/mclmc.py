"""Microcanonical Langevin Monte Carlo as a backend: unadjusted, for networks where exact samplers are too slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import kernels
from .._ranks import ALONE, Pool
from ..kernels.dense import DenseFisherMass, DenseMass
from ..kernels.low_rank import LowRankFisherMass
from ..kernels.mass import FisherMass, MassMatrix
from ..kernels.scale_adaptation import ScaleAdaptation, ScaleState
from ._chains import FullBatch
from ._compiling import TINY_STEP
from ._sampling import Sampling, SamplingState
from ._settings import within


@dataclass(frozen=True, kw_only=True)
class MCLMC(FullBatch):
    """Microcanonical Langevin Monte Carlo: full batch, all chains in lockstep, no accept step. Robnik & Seljak 2024.

    A step costs two gradients (one with ``coefficients=kernels.LEAPFROG``). It is biased at finite step size: halve
    ``energy_variance`` and compare, or use ``AdjustedMCLMC``. The other settings are those of ``FullBatch``; ``warmup`` and
    ``thinning`` count steps.

    energy_variance
        variance of the energy error of a step per dimension that the step size is tuned to.
    mass_matrix
        ``FisherMass()`` or ``DiagonalMass()``: the scales σ; with ``pooled=False`` each chain has its own, and its own ε.
    step_size, length
        ε and the decoherence length L of the draws, in units of the scales σ; None takes those tuned in warm-up.
    """

    gradients: ClassVar[int] = 2
    chainwise: ClassVar[int] = TINY_STEP
    warmup: int = 5_000
    draws: int = 500
    thinning: int = 20
    energy_variance: float = 5e-4
    mass_matrix: MassMatrix = FisherMass(pooled=False)
    step_size: float | None = None
    length: float | None = None
    coefficients: tuple[float, ...] = kernels.MCLACHLAN

    def __post_init__(self) -> None:
        super().__post_init__()
        positive = (0.0, float("inf"))
        within(self, energy_variance=positive, step_size=positive, length=positive)
        mass = self.mass_matrix
        if isinstance(mass, type | DenseMass | DenseFisherMass | LowRankFisherMass) or not isinstance(mass, MassMatrix):
            raise TypeError(f"MCLMC: mass_matrix must be diagonal, FisherMass() or DiagonalMass(), got {mass!r}")

    @property
    def pooled(self) -> bool:
        return self.mass_matrix.pooled

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        if dim < 2:
            raise ValueError("MCLMC needs a posterior of two dimensions or more, got 1: use NUTS")
        kernel = ScaleAdaptation(
            kernels.MCLMC(self.coefficients),
            self.warmup,
            self.energy_variance,
            self.mass_matrix,
            self.step_size,
            self.length,
            pool,
        )
        return Sampling(
            kernel, self.warmup, self.draws, self.thinning, _statistics, ("step_size", "lp"), kernel.every, _said
        )

    def doubts(self, stats: dict[str, Tensor], diverged: Tensor) -> list[str]:
        """More than one step in a thousand taken back, in any chain."""
        steps = stats["lp"].shape[1] * self.thinning
        worst = int(diverged.max())
        if worst <= steps / 1000:
            return []
        share = int(diverged.sum()) / (steps * len(diverged))
        return [
            f"{share:.2%} of the steps (in the worst chain {worst / steps:.2%}) had an energy error beyond √d and "
            "were taken back: take a smaller energy_variance (1e-4), float64, or another parameterisation of hierarchical "
            "priors"
        ]


def _statistics(before: ScaleState, after: ScaleState, info: Any) -> dict[str, Tensor]:
    return {
        "lp": after.inner.log_joint,
        "energy_error": info.energy_error,
        "diverging": info.diverging,
        "step_size": before.parameters.step_size * torch.exp2(-before.halvings),
        "length": before.parameters.length,
    }


def _said(carry: SamplingState) -> str:
    _, step_size, length = carry.chains.parameters
    lp = float(carry.chains.inner.log_joint.mean())
    return f"step size {float(step_size[0]):.2e}, L {float(length[0]):.1f}, log joint {lp:.4g}"
