"""What the samplers on Hamiltonian phase space share: tuning of step size and mass matrix around a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..density import LogJoint, need_finite
from ..diagnostics import bfmi
from ..kernels import adaptation
from ..kernels.adaptation import DualAveraging, reasonable_step_size
from ..kernels.mass import DiagonalMass, MassMatrix
from ._chains import FullBatch, Start, Walk
from ._settings import within

__all__ = ["Hamiltonian", "HamiltonianWalk", "Start"]

ENOUGH = 100
"""Draws of a chain from which the mixing of its energies is judged."""


@dataclass(frozen=True, kw_only=True)
class Hamiltonian(FullBatch):
    """Settings that HMC and NUTS have in common, besides those of ``FullBatch``.

    target_accept
        mean acceptance rate that the step size is tuned to; raise it (0.9, 0.99) against divergences.
    step_size
        where the tuning starts; None finds a reasonable one.
    mass_matrix
        ``DiagonalMass()``, ``FisherMass()``, ``LowRankFisherMass()`` or ``DenseMass()``; with ``pooled=False`` each chain
        tunes its own mass matrix and step size.
    """

    target_accept: float = 0.8
    step_size: float | None = None
    mass_matrix: MassMatrix = DiagonalMass()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.mass_matrix, type) or not isinstance(self.mass_matrix, MassMatrix):
            raise TypeError(
                f"{type(self).__name__}: mass_matrix must be DiagonalMass(), FisherMass(), LowRankFisherMass() or "
                f"DenseMass(), got "
                f"{self.mass_matrix!r}"
            )
        within(self, target_accept=(0.0, 1.0), step_size=(0.0, float("inf")))

    @property
    def kernel(self) -> Any:
        raise NotImplementedError

    @property
    def warmup_kernel(self) -> Any:
        return self.kernel

    def walk(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> HamiltonianWalk:
        return HamiltonianWalk(self, log_joint, chains, generator)

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


class HamiltonianWalk(Walk):
    """One run under way: the kernel's state, the tuning, and what is kept."""

    settings: Hamiltonian

    def __init__(self, settings: Hamiltonian, log_joint: LogJoint, chains: int, generator: torch.Generator) -> None:
        super().__init__(settings, log_joint, chains, generator)
        self.kernel = settings.warmup_kernel
        position = self.start
        self.state = self.kernel.init(position, log_joint)
        need_finite(settings.init, self.state.log_joint, self.state.gradient)
        self.metric = settings.mass_matrix.start(position)
        guess = position.new_full((chains,), settings.step_size or 0.1)
        self.stepper = DualAveraging(settings.target_accept, pooled=settings.mass_matrix.pooled)
        self.stepper.restart(guess if settings.step_size else self._reasonable(guess))
        self.step_size = self.stepper.step_size
        self.seen = settings.mass_matrix.estimator()
        self.ends = adaptation.windows(settings.warmup)
        self.begin = 75 if settings.warmup >= 150 else int(0.15 * settings.warmup)
        self.divergences = torch.zeros((), device=log_joint.device)

    def _reasonable(self, guess: Tensor) -> Tensor:
        return reasonable_step_size(self.state, self.log_joint, self.metric, guess, self.generator)

    def move(self) -> tuple[Tensor, dict[str, Tensor]]:
        self.state, info = self.kernel.step(self.state, self.log_joint, self.metric, self.step_size, self.generator)
        return self.state.position, self.statistics(info)

    def statistics(self, info: Any) -> dict[str, Tensor]:
        """What is kept of a transition, ``{name: [chain]}``."""
        self.divergences = self.divergences + info.diverging.sum()
        stats = info._asdict()
        stats["n_steps"] = stats["n_steps"].int()
        if "tree_depth" in stats:
            stats["tree_depth"] = stats["tree_depth"].int()
        return stats | {"lp": self.state.log_joint, "step_size": self.step_size}

    def warm(self, i: int) -> None:
        _, stats = self.move()
        self.tuned.add(self.state.log_joint.unsqueeze(-1), {k: stats[k] for k in ("step_size", "n_steps", "lp")})
        self.stepper.update(self.accepted(stats["acceptance_rate"]).to(self.step_size))
        if self.ends and self.begin <= i < self.ends[-1]:
            self.seen.update(self.state.position, self.state.gradient)
        if i + 1 in self.ends:
            self.metric = self.settings.mass_matrix.estimate(self.seen)
            self.seen = self.settings.mass_matrix.estimator()
            self.stepper.restart(self._reasonable(self.stepper.final))
        self.step_size = self.stepper.step_size

    def accepted(self, rate: Tensor) -> Tensor:
        """The acceptance rates ``[chain]`` that the step size is tuned to."""
        return rate

    def settle(self) -> None:
        """End of warm-up: the averaged step size, the kernel of the draws, and divergences counted from here."""
        self.kernel = self.settings.kernel
        self.step_size = self.stepper.final
        self.divergences = torch.zeros_like(self.divergences)

    def describe(self) -> str:
        return f"step size {float(self.step_size.mean()):.2e}, {int(self.divergences)} divergences"
