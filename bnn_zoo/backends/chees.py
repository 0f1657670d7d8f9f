"""HMC with a trajectory length tuned across many chains in lockstep, as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .. import kernels
from .._ranks import ALONE, Pool
from ..kernels.length_adaptation import LengthAdaptation, LengthState, harmonic_mean
from ..kernels.mass import DiagonalMass, MassMatrix
from ._compiling import TINY_TRAJECTORY
from ._hamiltonian import Hamiltonian, said, statistics
from ._sampling import Sampling, SamplingState
from ._settings import at_least


@dataclass(frozen=True, kw_only=True)
class ChEES(Hamiltonian):
    """HMC for many chains in lockstep: one trajectory length for all, tuned by how far chains move. Hoffman et al. 2021.

    Exact, full batch, made for a GPU or for models of little arithmetic: no chain ever waits for another's tree. Give it 16
    chains or more in a process (``processes`` is 1 unless set). ``max_leapfrogs`` bounds the steps of one trajectory. The
    other settings are those of ``Hamiltonian``; the mass matrix is diagonal.
    """

    chainwise: ClassVar[int] = TINY_TRAJECTORY
    chains: int = 16
    target_accept: float = 0.651
    max_leapfrogs: int = 1000
    processes: int | None = 1
    mass_matrix: MassMatrix | None = DiagonalMass()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, chains=2, max_leapfrogs=1)
        if not (isinstance(self.mass_matrix, DiagonalMass) and self.mass_matrix.pooled):
            raise TypeError(f"ChEES: mass_matrix must be diagonal and pooled, DiagonalMass(), got {self.mass_matrix!r}")

    @property
    def kernel(self) -> kernels.ChEES:
        return kernels.ChEES(self.max_leapfrogs)

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        chains = sum(pool.sizes) or chains
        if chains < 2:
            raise ValueError(f"ChEES compares chains: expected at least 2 in a process, got {chains}; set processes=1")
        kernel = LengthAdaptation(self.tuned(dim, rates=harmonic_mean, pool=pool), self.max_leapfrogs)
        return self._program(kernel, _statistics, _said)


def _statistics(before: LengthState, after: LengthState, info: Any) -> dict[str, Tensor]:
    found = statistics(before.inner, after.inner, info)
    del found["flight"]
    return found


def _said(carry: SamplingState) -> str:
    return f"{said(carry._replace(chains=carry.chains.inner))}, trajectory length {carry.chains.length:.2f}"
