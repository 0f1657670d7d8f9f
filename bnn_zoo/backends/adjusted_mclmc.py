"""Metropolis-adjusted microcanonical sampling as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from .. import kernels
from .._ranks import ALONE, Pool
from ..kernels.mass import DiagonalMass, MassMatrix
from ..kernels.warm_start import WarmStart
from ._compiling import TINY_TRAJECTORY
from ._hamiltonian import Hamiltonian
from ._sampling import Sampling
from ._settings import at_least, within


@dataclass(frozen=True, kw_only=True)
class AdjustedMCLMC(Hamiltonian):
    """Microcanonical trajectories with an accept step: exact, full batch. Robnik, Cohn-Gordon & Seljak 2025.

    The first 60 % of the warm-up are steps of MCLMC, ten to a transition: they find the scales. Then the step size is tuned.
    ``trajectory_length`` is the mean path of a trajectory in posterior standard deviations, drawn anew for each from
    (0, 2 · length); None takes 0.7 of MCLMC's decoherence length, at least 1 and at most 3. ``max_steps`` bounds its steps,
    of one gradient each with the default ``coefficients``. The other settings are those of ``Hamiltonian``; the mass matrix
    is diagonal.
    """

    gradients: ClassVar[int] = 16
    chainwise: ClassVar[int] = TINY_TRAJECTORY
    target_accept: float = 0.9
    mass_matrix: MassMatrix | None = DiagonalMass()
    trajectory_length: float | None = None
    max_steps: int = 256
    coefficients: tuple[float, ...] = kernels.LEAPFROG

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, max_steps=1)
        within(self, trajectory_length=(0.0, float("inf")))
        if not isinstance(self.mass_matrix, DiagonalMass):
            raise TypeError(f"AdjustedMCLMC: mass_matrix must be diagonal, such as DiagonalMass(), got {self.mass_matrix!r}")

    @property
    def kernel(self) -> kernels.AdjustedMCLMC:
        return kernels.AdjustedMCLMC(self.trajectory_length or 1.5, self.max_steps, self.coefficients)

    def energy_mixing(self, stats: dict[str, torch.Tensor]) -> float:
        """The speed is constant: "energy" is the log joint alone, which a transition may well keep."""
        return 1.0

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        if dim < 2:
            raise ValueError("AdjustedMCLMC needs a posterior of two dimensions or more, got 1: use NUTS")
        mass = self.mass_matrix or DiagonalMass()
        length = self.trajectory_length
        kernel = WarmStart(self.kernel, self.warmup, self.target_accept, mass, self.step_size, length, pool)
        return self._program(kernel)
