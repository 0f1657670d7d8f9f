"""HMC with a trajectory length tuned across many chains in lockstep, as a backend."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from .. import kernels
from ..density import LogJoint
from ..kernels.chees import TrajectoryLength, van_der_corput
from ..kernels.mass import DiagonalMass
from ._hamiltonian import Hamiltonian, HamiltonianWalk
from ._settings import at_least


@dataclass(frozen=True, kw_only=True)
class ChEES(Hamiltonian):
    """HMC for many chains in lockstep: one trajectory length for all, tuned by how far chains move. Hoffman et al. 2021.

    Exact, full batch, made for a GPU or for models of little arithmetic: no chain ever waits for another's tree. Give it 16
    chains or more in a process (``processes`` is 1 unless set). ``max_leapfrogs`` bounds the steps of one trajectory. The
    other settings are those of ``Hamiltonian``; the mass matrix is diagonal.
    """

    chains: int = 16
    target_accept: float = 0.651
    max_leapfrogs: int = 1000
    processes: int | None = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, chains=2, max_leapfrogs=1)
        if not (isinstance(self.mass_matrix, DiagonalMass) and self.mass_matrix.pooled):
            raise TypeError(f"ChEES: mass_matrix must be diagonal and pooled, DiagonalMass(), got {self.mass_matrix!r}")

    @property
    def kernel(self) -> kernels.ChEES:
        return kernels.ChEES(self.max_leapfrogs)

    def walk(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> ChEESWalk:
        if chains < 2:
            raise ValueError(f"ChEES compares chains: expected at least 2 in a process, got {chains}; set processes=1")
        return ChEESWalk(self, log_joint, chains, generator)


class ChEESWalk(HamiltonianWalk):
    """One run under way."""

    def __init__(self, settings: ChEES, log_joint: LogJoint, chains: int, generator: torch.Generator) -> None:
        super().__init__(settings, log_joint, chains, generator)
        begin = log(float(self.step_size[0]))
        self.trajectory = TrajectoryLength(begin, log_average=begin)
        self.length = self.step_size[0].item()
        self.at = 0

    def move(self) -> tuple[Tensor, dict[str, Tensor]]:
        self.at += 1
        before = self.state.position
        self.state, info, flight = self.kernel.step(
            self.state, self.log_joint, self.metric, self.step_size, self.length, van_der_corput(self.at), self.generator
        )
        self.latest = before, flight, info.acceptance_rate
        return self.state.position, self.statistics(info)

    def warm(self, i: int) -> None:
        metric = self.metric
        super().warm(i)
        self.trajectory.update(*self.latest, metric)
        if self.metric is not metric:  # time is in units of the metric
            self.trajectory.rescale(float((metric.variance / self.metric.variance).log().mean()) / 2)
        longest = self.settings.max_leapfrogs * float(self.step_size[0])  # type: ignore[attr-defined]
        self.trajectory.log_length = min(self.trajectory.log_length, log(longest))
        self.length = torch.tensor(self.trajectory.log_length).exp().item()

    def accepted(self, rate: Tensor) -> Tensor:
        """Their harmonic mean (Hoffman, Radul & Sountsov 2021, section 3.2): the arithmetic one lets a few chains that
        reject always stay where they are, as long as the others accept."""
        return (1.0 / rate.clamp(min=1e-3)).mean().reciprocal().expand_as(rate)

    def settle(self) -> None:
        super().settle()
        self.length = torch.tensor(self.trajectory.log_average).exp().item()

    def describe(self) -> str:
        return f"{super().describe()}, trajectory length {self.length:.2f}"
