"""Random-walk Metropolis as a backend: for teaching, and as the slow baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from .. import kernels
from .._ranks import ALONE, Pool
from ..kernels.window_adaptation import as_it_is
from ._hamiltonian import Hamiltonian
from ._sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class RandomWalk(Hamiltonian):
    """Random-walk Metropolis: exact, but an independent draw in d dimensions costs of the order of d steps.

    Metropolis, Rosenbluth, Rosenbluth, Teller & Teller 1953. The step is tuned to the acceptance rate 0.234 that is best in
    many dimensions (Roberts, Gelman & Gilks 1997). The other settings are those of ``Hamiltonian``.
    """

    gradients: ClassVar[int] = 1
    warmup: int = 5_000
    draws: int = 1_000
    thinning: int = 20
    target_accept: float = 0.234

    @property
    def kernel(self) -> kernels.RandomWalk:
        return kernels.RandomWalk()

    def energy_mixing(self, stats: dict[str, torch.Tensor]) -> float:
        """There is no momentum, and a step of a random walk changes the density little."""
        return 1.0

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        return self._program(self.tuned(dim, first=as_it_is, pool=pool))
