"""Warm-up of ChEES, as a kernel around the adaptation of its step size and mass matrix: the trajectory length."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any, NamedTuple

from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .chees import ChEESInfo, Flight, TrajectoryLength
from .window_adaptation import WindowAdaptation, WindowState


@node
class LengthState(NamedTuple):
    """State of the adaptation inside, of the length, and the length T of the next trajectory."""

    inner: WindowState
    trajectory: TrajectoryLength
    length: float

    @property
    def position(self) -> Tensor:
        return self.inner.position


def harmonic_mean(rate: Tensor) -> Tensor:
    """Of the acceptance rates (Hoffman, Radul & Sountsov 2021, section 3.2): the arithmetic one lets a few chains that
    reject always stay where they are, as long as the others accept."""
    return (1.0 / rate.clamp(min=1e-3)).mean().reciprocal().expand_as(rate)


@dataclass(frozen=True)
class LengthAdaptation:
    """``kernel``, a window adaptation of ``ChEES``, with the trajectory length that its warm-up finds, at most
    ``max_leapfrogs`` steps."""

    kernel: WindowAdaptation
    max_leapfrogs: int

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> LengthState:
        inner = self.kernel.init(position, target, random)
        length = float(inner.parameters.step_size[0])
        return LengthState(inner, TrajectoryLength(log(length), log_average=log(length)), length)

    def step(
        self, target: LogJointFn, state: LengthState, parameters: Any, random: Randomness
    ) -> tuple[LengthState, ChEESInfo]:
        before, trajectory, length = state
        metric: Any = before.parameters.metric
        inner, info = self.kernel.step(target, before, (length,), random)
        if before.step < self.kernel.warmup:
            pool = self.kernel.pool
            flight = Flight(pool.every(info.flight.position), pool.every(info.flight.momentum), info.flight.time)
            every = type(metric)(*map(pool.every, metric))
            trajectory.update(pool.every(before.position), flight, pool.every(info.acceptance_rate), every)
            new: Any = inner.parameters.metric
            if new is not metric:  # time is in units of the metric
                trajectory.rescale(float((metric.variance / new.variance).log().mean()) / 2)
            trajectory.log_length = min(
                trajectory.log_length, log(self.max_leapfrogs * float(inner.parameters.step_size[0]))
            )
            length = exp(trajectory.log_average if inner.step == self.kernel.warmup else trajectory.log_length)
        return LengthState(inner, trajectory, length), info
