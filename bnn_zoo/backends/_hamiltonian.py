"""What the samplers on Hamiltonian phase space share: tuning of step size and mass matrix around a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .._ranks import ALONE, Pool
from ..diagnostics import bfmi
from ..kernels.dense import DenseFisherMass, DenseMass
from ..kernels.mass import DiagonalMass, MassMatrix
from ..kernels.window_adaptation import WindowAdaptation, WindowState
from ._chains import FullBatch, Start
from ._sampling import Sampling, SamplingState, Statistics
from ._settings import within

__all__ = ["Hamiltonian", "Start"]

TRACED = ("step_size", "n_steps", "lp")
"""Statistics of the warm-up that go into the history."""
FEW, CORRELATED = 20, 300
"""Dimensions up to which correlations are learnt by default: from the draws of a warm-up, which are many for so few, and
from draws and gradients, while a product with the matrix costs less than most gradients."""
ENOUGH = 100
"""Draws of a chain from which the mixing of its energies is judged."""


def statistics(before: WindowState, after: WindowState, info: Any) -> dict[str, Tensor]:
    """What is kept of a transition, ``{name: [chain]}``."""
    stats = info._asdict()
    stats["n_steps"] = stats["n_steps"].int()
    if "tree_depth" in stats:
        stats["tree_depth"] = stats["tree_depth"].int()
    return stats | {"lp": after.inner.log_joint, "step_size": before.parameters.step_size}


def said(carry: SamplingState) -> str:
    step_size = float(carry.chains.parameters.step_size.mean())
    return f"step size {step_size:.2e}, {int(carry.diverged.sum())} divergences"


def by_default(dim: int) -> MassMatrix:
    """The mass matrix for so many dimensions where none is asked for; measured by ``tests/benchmarks/mass.py``."""
    if dim > CORRELATED:
        return DiagonalMass()
    return DenseMass() if dim <= FEW else DenseFisherMass()


@dataclass(frozen=True, kw_only=True)
class Hamiltonian(FullBatch):
    """Settings that HMC and NUTS have in common, besides those of ``FullBatch``.

    target_accept
        mean acceptance rate that the step size is tuned to; raise it (0.9, 0.99) against divergences.
    step_size
        where the tuning starts; None finds a reasonable one.
    mass_matrix
        ``DiagonalMass()``, ``FisherMass()``, ``LowRankFisherMass()``, ``DenseMass()`` or ``DenseFisherMass()``; with
        ``pooled=False`` each chain tunes its own mass matrix and step size. None: correlations too, by ``DenseMass()`` up to
        20 dimensions and by ``DenseFisherMass()`` up to 300; ``DiagonalMass()`` beyond.
    """

    target_accept: float = 0.8
    step_size: float | None = None
    mass_matrix: MassMatrix | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        mass = self.mass_matrix
        if isinstance(mass, type) or not (mass is None or isinstance(mass, MassMatrix)):
            raise TypeError(
                f"{type(self).__name__}: mass_matrix must be None, DiagonalMass(), FisherMass(), LowRankFisherMass(), "
                f"DenseMass() or DenseFisherMass(), got {mass!r}"
            )
        within(self, target_accept=(0.0, 1.0), step_size=(0.0, float("inf")))

    @property
    def kernel(self) -> Any:
        raise NotImplementedError

    @property
    def warmup_kernel(self) -> Any:
        return self.kernel

    @property
    def opening_kernel(self) -> Any:
        return None

    def tuned(self, dim: int, **more: Any) -> WindowAdaptation:
        """The kernel with the tuning around it, for so many dimensions."""
        return WindowAdaptation(
            self.kernel,
            self.warmup_kernel,
            self.warmup,
            self.target_accept,
            self.mass_matrix or by_default(dim),
            self.step_size,
            self.opening_kernel,
            **more,
        )

    @property
    def pooled(self) -> bool:
        return self.mass_matrix is None or self.mass_matrix.pooled

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        return self._program(self.tuned(dim, pool=pool))

    def _program(self, kernel: Any, statistics: Statistics = statistics, said: Any = said) -> Sampling:
        return Sampling(kernel, self.warmup, self.draws, self.thinning, statistics, TRACED, 1, said)

    def doubts(self, stats: dict[str, Tensor], diverged: Tensor) -> list[str]:
        """Any divergence, as in Stan, PyMC and NumPyro; and energies that the momentum hardly changes (Betancourt 2016)."""
        count, found = int(diverged.sum()), []
        if count:
            transitions = stats["lp"].numel() * self.thinning
            higher = 0.95 if self.target_accept < 0.95 else 0.99
            found.append(
                f"{count} of {transitions} transitions diverged ({count / transitions:.1%}), so parts of the posterior may "
                f"be missed: raise target_accept ({higher}), warm up longer, or write hierarchical priors in another "
                "parameterisation"
            )
        if stats["lp"].shape[1] >= ENOUGH and (lowest := self.energy_mixing(stats)) < 0.2:
            found.append(
                f"energies hardly change from draw to draw (E-BFMI {lowest:.2f}; above 0.3 is well), as in a funnel or in "
                "heavy tails: write hierarchical priors in another parameterisation, or run longer"
            )
        return found

    def energy_mixing(self, stats: dict[str, Tensor]) -> float:
        """E-BFMI of the worst chain; 1 where momenta are not drawn from a normal law at each transition."""
        fractions = bfmi(stats["energy"])
        return float(fractions.nan_to_num(1.0).min())
