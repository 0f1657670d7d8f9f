"""Metropolis-adjusted microcanonical sampling as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from .. import kernels
from .._ranks import ALONE, Pool
from ..kernels.mass import DiagonalMass, MassMatrix
from ._hamiltonian import Hamiltonian
from ._sampling import Sampling
from ._settings import at_least, within


@dataclass(frozen=True, kw_only=True)
class AdjustedMCLMC(Hamiltonian):
    """Microcanonical trajectories with an accept step: exact, full batch. Robnik, Cohn-Gordon & Seljak 2025.

    ``trajectory_length`` is the mean path of a trajectory in posterior standard deviations, drawn anew for each from
    (0, 2 · length); ``max_steps`` bounds its steps, of two gradients each with the default ``coefficients``. The other
    settings are those of ``Hamiltonian``; the mass matrix is diagonal.
    """

    gradients: ClassVar[int] = 16
    target_accept: float = 0.9
    mass_matrix: MassMatrix | None = DiagonalMass()
    trajectory_length: float = 1.5
    max_steps: int = 256
    coefficients: tuple[float, ...] = kernels.MCLACHLAN

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_steps=1)
        within(self, trajectory_length=(0.0, float("inf")))
        if not isinstance(self.mass_matrix, DiagonalMass):
            raise TypeError(f"AdjustedMCLMC: mass_matrix must be diagonal, such as DiagonalMass(), got {self.mass_matrix!r}")

    @property
    def kernel(self) -> kernels.AdjustedMCLMC:
        return kernels.AdjustedMCLMC(self.trajectory_length, self.max_steps, self.coefficients)

    def energy_mixing(self, stats: dict[str, torch.Tensor]) -> float:
        """The speed is constant: "energy" is the log joint alone, which a transition may well keep."""
        return 1.0

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        if dim < 2:
            raise ValueError("AdjustedMCLMC needs a posterior of two dimensions or more, got 1: use NUTS")
        return super().program(dim, chains, pool)
