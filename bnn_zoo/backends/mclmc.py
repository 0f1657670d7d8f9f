"""Microcanonical Langevin Monte Carlo as a backend: unadjusted, for networks where exact samplers are too slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import kernels
from ..density import LogJoint, need_finite
from ..diagnostics import ess_mean
from ..kernels.energy_variance import EnergyVariance
from ..kernels.low_rank import LowRankFisherMass
from ..kernels.mass import DenseMass, FisherMass, MassMatrix
from ._chains import FullBatch, Walk
from ._loop import Recorder
from ._settings import within

WINDOWS = (0.05, 0.12, 0.3, 0.6)
"""Shares of the warm-up at which scales begin to be looked at, and are set from what was seen since the last."""
BACK = 10
"""Steps over which a halved step size comes back."""
SNAPSHOTS, DIMS = 500, 200
"""Of the last part of the warm-up: positions kept and dimensions looked at, to find the decoherence length."""


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
        if isinstance(mass, type | DenseMass | LowRankFisherMass) or not isinstance(mass, MassMatrix):
            raise TypeError(f"MCLMC: mass_matrix must be diagonal, FisherMass() or DiagonalMass(), got {mass!r}")

    def walk(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> MCLMCWalk:
        if log_joint.dim < 2:
            raise ValueError("MCLMC needs a posterior of two dimensions or more, got 1: use NUTS")
        return MCLMCWalk(self, log_joint, chains, generator)

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


class MCLMCWalk(Walk):
    """One run under way. Warm-up: a step size, then scales three times, each with a new step size, then L."""

    settings: MCLMC

    def __init__(self, settings: MCLMC, log_joint: LogJoint, chains: int, generator: torch.Generator) -> None:
        super().__init__(settings, log_joint, chains, generator)
        self.kernel = kernels.MCLMC(settings.coefficients)
        self.state = self.kernel.init(self.start, log_joint, generator)
        need_finite(settings.init, self.state.log_joint, self.state.gradient)
        self.scale = torch.ones_like(self.start)
        self.length = self._all(settings.length or log_joint.dim**0.5)
        pooled = settings.mass_matrix.pooled
        self.stepper = EnergyVariance(settings.energy_variance, log_joint.dim, pooled)
        start = self._all(0.1 * log_joint.dim**0.25)
        self.stepper.restart(start[0] if pooled else start)
        self.step_size = self._all(self.stepper.step_size)
        self.mass: Any = settings.mass_matrix
        self.seen = self.mass.estimator()
        self.windows = [int(share * settings.warmup) for share in WINDOWS]
        self.every = max(1, (settings.warmup - self.windows[-1]) // SNAPSHOTS)
        self.snapshots = Recorder(SNAPSHOTS + 1)
        dims = min(DIMS, log_joint.dim)
        self.some = torch.linspace(0, log_joint.dim - 1, dims, device=self.start.device).long()
        self.log_steps: list[Tensor] = []
        self.halvings = self._all(0.0)

    def _all(self, value: float | Tensor) -> Tensor:
        return self.start.new_ones(len(self.start)) * value

    def move(self) -> tuple[Tensor, dict[str, Tensor]]:
        step_size = self.step_size * torch.exp2(-self.halvings)
        self.state, info = self.kernel.step(self.state, self.log_joint, self.scale, step_size, self.length, self.generator)
        self.error = info
        return self.state.position, {
            "lp": self.state.log_joint,
            "energy_error": info.energy_error,
            "diverging": info.diverging,
            "step_size": step_size,
            "length": self.length,
        }

    def sample(self, i: int) -> None:
        """A chain whose step was taken back goes on at half its ε, and comes back to ε over the next ``BACK`` steps."""
        super().sample(i)
        lost = self.error.diverging
        self.halvings = torch.where(lost, self.halvings + 1.0, (self.halvings - 1.0 / BACK).clamp(min=0.0))

    def warm(self, i: int) -> None:
        position, stats = self.move()
        if i % self.every == 0:
            self.tuned.add(stats["lp"].unsqueeze(-1), {k: stats[k] for k in ("step_size", "lp")})
        self.stepper.update(self.error.energy_error.to(self.step_size), self.error.diverging)
        self.step_size = self._all(self.stepper.step_size)
        if self.windows[0] <= i < self.windows[-1]:
            self.seen.update(position, self.state.gradient)
        elif i >= self.windows[-1] and i % self.every == 0 and self.snapshots.count <= SNAPSHOTS:
            self.snapshots.add((position / self.scale)[:, self.some], {})
            self.log_steps.append(self.stepper.log_step)
        if i + 1 in self.windows[1:] and self.seen.count > 10:
            self._rescale()

    def _rescale(self) -> None:
        """σ from the draws seen; L back to √d, and ε by how much the typical σ changed."""
        before = self.scale
        self.scale = self.mass.estimate(self.seen).variance.sqrt()
        self.seen = self.mass.estimator()
        ratio = (before / self.scale).log().mean(-1).exp()
        ratio = ratio.log().mean().exp() if self.stepper.pooled else ratio
        self.stepper.restart(self.stepper.step_size * ratio)
        self.step_size = self._all(self.stepper.step_size)

    def settle(self) -> None:
        """The step size of the last part, averaged; L = 0.4 ε τ with τ the autocorrelation time in steps, averaged over
        dimensions (Robnik et al. 2023, section 3.3)."""
        if self.settings.step_size is not None:
            self.step_size = self._all(self.settings.step_size)
        elif self.log_steps:
            late = self.log_steps[len(self.log_steps) // 4 :]
            self.step_size = self._all(torch.stack(late).mean(0).exp())
        if self.settings.length is None and self.snapshots.count >= 20:
            x, _ = self.snapshots.result()
            series = x.transpose(0, 1).flatten(1)[None]  # a chain's dimensions are scalars of their own
            tau = self.every * x.shape[1] / ess_mean(series).clamp(min=1.0)
            self.length = 0.4 * self.step_size * tau.nanmean().to(self.step_size)

    def describe(self) -> str:
        lp, step = float(self.state.log_joint.mean()), float(self.step_size[0])
        return f"step size {step:.2e}, L {float(self.length[0]):.1f}, log joint {lp:.4g}"
