"""Maximum a posteriori and deep ensembles as backends: one draw a chain, where the optimiser ends."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .. import kernels
from ..density import LogJoint
from ..schedules import cosine
from ..types import Schedule
from ._settings import optimiser
from ._stochastic import StochasticGradient, StochasticWalk


@dataclass(frozen=True, kw_only=True)
class MAP(StochasticGradient):
    """The mode of the posterior, on the unconstrained line, by a torch optimiser: one draw, so no error bars.

    Settings: those of ``StochasticGradient`` (``step_size`` is the learning rate, by default a cosine from 1e-3 down;
    ``temperature``, ``warmup`` and ``thinning`` have no meaning here), and

    optimiser
        ``torch.optim.Adam``, or any other that works coordinate by coordinate; ``functools.partial`` for its settings.
        It sees the gradient of the log joint, a sum over all rows: for SGD take a learning rate of the order of 1e-2/N.
    """

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

    def walk(self, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> StochasticWalk:
        return Ascent(self, log_joint, batches, generator)


@dataclass(frozen=True, kw_only=True)
class DeepEnsemble(MAP):
    """``chains`` networks, each optimised from its own start: members are chains of one draw. Lakshminarayanan et al. 2017.

    With ``init=density.FromNet(nets.LeNet5)`` each member starts from its own default initialisation.
    """

    chains: int = 5


class Ascent(StochasticWalk):
    """One optimisation under way. Ctrl-C keeps where it has come."""

    def __init__(self, settings: MAP, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> None:
        kernels.check_coordinatewise(settings.optimiser, type(settings).__name__)
        super().__init__(settings, log_joint, batches, generator)

    def end(self) -> None:
        if not self.kept.count and self.at:
            name, steps = type(self.settings).__name__, self.settings.steps
            warnings.warn(f"{name}: interrupted after {self.at} of {steps} steps: kept is where it was", stacklevel=3)
            self.kept.add(self.state.position, self.statistics())
