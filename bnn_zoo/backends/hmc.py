"""Hamiltonian Monte Carlo as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from torch import Tensor

from .. import kernels
from ._compiling import TINY_TRAJECTORY
from ._hamiltonian import ENOUGH, Hamiltonian
from ._settings import at_least, share, within

OPENING = 64
"""Steps of a trajectory before the first mass matrix: a wrong one makes them as long as they may be."""


@dataclass(frozen=True, kw_only=True)
class HMC(Hamiltonian):
    """Hamiltonian Monte Carlo with trajectories of a jittered fixed length, full batch. Neal 2011.

    ``trajectory_length`` is in posterior standard deviations (units of the mass matrix): about π/2 draws nearly
    independent points from a Gaussian. ``max_leapfrogs`` bounds the steps of one trajectory (``fit`` warns where it cuts
    most of them short); ``jitter`` in [0, 1) varies the length from draw to draw. The other settings are those of
    ``Hamiltonian``.
    """

    chainwise: ClassVar[int] = TINY_TRAJECTORY
    trajectory_length: float = 2.0
    max_leapfrogs: int = 1000
    jitter: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_leapfrogs=1)
        within(self, trajectory_length=(0.0, float("inf")))
        share(self, "jitter")

    def doubts(self, stats: dict[str, Tensor], diverged: Tensor) -> list[str]:
        """As every sampler of Hamiltonian phase space; and trajectories that most of the time are cut to less than half."""
        found = super().doubts(stats, diverged)
        steps = self.trajectory_length / stats["step_size"].mean(0)
        if stats["lp"].shape[1] >= ENOUGH and float(steps.median()) > 2 * self.max_leapfrogs:
            found.append(
                f"trajectories are cut to max_leapfrogs = {self.max_leapfrogs} steps where trajectory_length = "
                f"{self.trajectory_length:g} asks for {ceil(float(steps.median()))}, so draws move less than they could: "
                "raise max_leapfrogs, warm up longer, or let bnn_zoo.NUTS choose the lengths"
            )
        return found

    @property
    def kernel(self) -> kernels.HMC:
        return kernels.HMC(self.trajectory_length, self.max_leapfrogs, self.jitter)

    @property
    def opening_kernel(self) -> kernels.HMC:
        return kernels.HMC(self.trajectory_length, min(OPENING, self.max_leapfrogs), self.jitter)
