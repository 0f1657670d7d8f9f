"""Maximum a posteriori and deep ensembles as backends: one draw a chain, where the optimiser ends."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import kernels
from .._ranks import ALONE, Pool
from ..density import LogJoint
from ..kernels.langevin import LangevinInfo
from ..run import Recorder, Run
from ..schedules import cosine
from ..types import Schedule
from ._diffusion import Diffusion, statistics
from ._draws import Place
from ._settings import optimiser
from ._sinks import before_lost
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class MAP(StochasticGradient):
    """The mode of the posterior, on the unconstrained line, by a torch optimiser: one draw, so no error bars.

    Settings: those of ``StochasticGradient`` (``step_size`` is the learning rate, by default a cosine from 1e-3 down;
    ``temperature``, ``warmup`` and ``thinning`` have no meaning here), and

    optimiser
        ``torch.optim.Adam``, or any other that works coordinate by coordinate; ``functools.partial`` for its settings.
        It sees the gradient of the log joint, a sum over all rows: for SGD take a learning rate of the order of 1e-2/N.
    """

    streams: ClassVar[bool] = False
    chains: int = 1
    warmup: int | None = 0
    thinning: int | None = None
    step_size: float | Schedule = cosine(1e-3)
    temperature: float | Schedule = 0.0
    optimiser: Callable[..., Any] = torch.optim.Adam

    def __post_init__(self) -> None:
        super().__post_init__()
        optimiser(self, "optimiser")
        if self.temperature != 0.0 or self.warmup != 0 or self.thinning is not None:
            raise ValueError(f"{type(self).__name__} has no temperature, warmup or thinning: it keeps where it ends")

    @property
    def kept(self) -> range | list[int]:
        return [self.steps - 1]

    def kernel(self, rows: int, *, warming: bool) -> kernels.Optimise:
        return kernels.Optimise(self.optimiser)

    def program(self, log_joint: LogJoint, pool: Pool = ALONE) -> Diffusion:
        kernels.check_coordinatewise(self.optimiser, type(self).__name__)
        return super().program(log_joint, pool)

    def sink(self, where: Place) -> Any:
        return Recorder(1)

    def finished(self, run: Run, where: Place, batches: Any) -> tuple[dict[str, Tensor], list[str]]:
        modes, stats = run.sink.result()
        doubts = self.lost(before_lost(torch.isfinite(modes).all(-1).all(0)), modes.shape[1])
        for chain, mode in enumerate(modes):
            where.put(chain, 0, run.target.constrain(mode))
        return stats, doubts

    def rescued(self, run: Run) -> None:
        """Ctrl-C keeps where it has come."""
        if run.step and not run.sink.count:
            warnings.warn(
                f"{type(self).__name__}: interrupted after {run.step} of {self.steps} steps: kept is where it was",
                stacklevel=5,
            )
            carry = run.carry
            info = LangevinInfo(carry.lp, carry.chains.position, torch.full_like(carry.chains.position, torch.nan))
            run.sink.add(carry.chains.position, statistics(carry, info))


@dataclass(frozen=True, kw_only=True)
class DeepEnsemble(MAP):
    """``chains`` networks, each optimised from its own start: members are chains of one draw. Lakshminarayanan et al. 2017.

    With ``init=density.FromNet(nets.LeNet5)`` each member starts from its own default initialisation.
    """

    chains: int = 5
