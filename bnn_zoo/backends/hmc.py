"""Hamiltonian Monte Carlo as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ._hamiltonian import Hamiltonian
from ._settings import at_least, share, within


@dataclass(frozen=True, kw_only=True)
class HMC(Hamiltonian):
    """Hamiltonian Monte Carlo with trajectories of a jittered fixed length, full batch. Neal 2011.

    ``trajectory_length`` is in posterior standard deviations (units of the mass matrix): about π/2 draws nearly
    independent points from a Gaussian. ``max_leapfrogs`` bounds the steps of one trajectory; ``jitter`` in [0, 1) varies
    the length from draw to draw. The other settings are those of ``Hamiltonian``.
    """

    trajectory_length: float = 2.0
    max_leapfrogs: int = 256
    jitter: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_leapfrogs=1)
        within(self, trajectory_length=(0.0, float("inf")))
        share(self, "jitter")

    @property
    def kernel(self) -> kernels.HMC:
        return kernels.HMC(self.trajectory_length, self.max_leapfrogs, self.jitter)
