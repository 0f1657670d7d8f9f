"""Tuning of the step size during warm-up and the schedule of its windows, apart from the kernels that use them.

Its state is plain tensors and numbers, so that a run can be written out and taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .hmc import HMCState
from .integrators import one_step
from .metric import Metric, kinetic

FARTHEST = 60.0
"""Of the log step size, either way: where nothing is ever accepted, or everything, it would run to 0 or infinity."""


@node
@dataclass
class DualAveraging:
    """Step size whose acceptance rate averages to ``target``. Hoffman & Gelman 2014, eq. 6 and section 3.2.1.

    One step size per chain, or, ``pooled``, one for all from their mean acceptance rate.
    """

    target: float = 0.8
    pooled: bool = True
    gamma: float = 0.05
    t0: float = 10.0
    kappa: float = 0.75
    mu: Tensor = field(default_factory=lambda: torch.zeros(1))
    log_step: Tensor = field(default_factory=lambda: torch.zeros(1))
    log_average: Tensor = field(default_factory=lambda: torch.zeros(1))
    h: Tensor = field(default_factory=lambda: torch.zeros(1))
    count: int = 0

    def restart(self, step_size: Tensor) -> None:
        """Begin anew, drawn towards 10 × ``step_size [chain]``."""
        if self.pooled:
            step_size = step_size.log().mean().exp().expand_as(step_size)
        self.mu = (10.0 * step_size).log()
        self.log_step, self.log_average = step_size.log(), step_size.log()
        self.h, self.count = torch.zeros_like(step_size), 0

    def update(self, acceptance_rate: Tensor) -> None:
        """Take in the acceptance rates ``[chain]`` of one transition."""
        if self.pooled:
            acceptance_rate = acceptance_rate.mean().expand_as(acceptance_rate)
        self.count += 1
        t = self.count
        eta = 1.0 / (t + self.t0)
        self.h = (1.0 - eta) * self.h + eta * (self.target - acceptance_rate)
        self.log_step = (self.mu - sqrt(t) / self.gamma * self.h).clamp(-FARTHEST, FARTHEST)
        weight = t**-self.kappa
        self.log_average = weight * self.log_step + (1.0 - weight) * self.log_average

    @property
    def step_size(self) -> Tensor:
        """The step size to try next, ``[chain]``."""
        return self.log_step.exp()

    @property
    def final(self) -> Tensor:
        """The averaged step size, for after warm-up, ``[chain]``."""
        return self.log_average.exp()


def reasonable_step_size(target: LogJointFn, state: HMCState, metric: Metric, guess: Tensor, random: Randomness) -> Tensor:
    """Per chain, double or halve ``guess [chain]`` until one leapfrog step is accepted with about 0.8.

    Hoffman & Gelman 2014, algorithm 4, with 0.8 in place of 0.5 as in Stan; all chains at once, at most 50 times.
    """
    p = metric.sample(random)
    energy = kinetic(metric, p) - state.log_joint
    step, direction = guess.clone(), torch.zeros_like(guess)
    leap = one_step(type(metric))  # as it is, not in a graph of its own: a few calls
    for _ in range(50):
        _, p1, value, _ = leap(target, *metric, step.unsqueeze(-1), state.position, p, state.gradient)
        error = torch.nan_to_num(kinetic(metric, p1) - value - energy, nan=torch.inf)
        wanted = torch.where(-error > log(0.8), 1.0, -1.0).to(step)
        direction = torch.where(direction == 0, wanted, direction)
        going = wanted == direction
        if not bool(going.any()):
            break
        step = torch.where(going, step * 2.0**direction, step)
    return step


EARLY = (10, 20, 40, 75)
"""Ends of the windows before Stan's: chains are on their way, and trajectories with a wrong metric are long."""


def early_windows(warmup: int) -> list[int]:
    """Warm-up steps after which the mass matrix is renewed before those of ``windows``, in as long a warm-up as Stan's."""
    return list(EARLY) if warmup >= 150 else []


def windows(warmup: int) -> list[int]:
    """Warm-up steps after which the mass matrix is renewed: an initial 15 %, doubling windows, a final 10 % (at least 10).

    Stan's schedule (75, then 25, 50, 100, …, last 50 of 1,000), scaled to shorter warm-ups. Below 30 steps: none.
    """
    if warmup < 30:
        return []
    begin, end = (75, warmup - 50) if warmup >= 150 else (int(0.15 * warmup), warmup - max(10, warmup // 10))
    ends, size, at = [], 25, begin
    while at < end:
        nxt = at + size
        if nxt + 2 * size > end:  # no room for another, twice as long: this one takes the rest
            nxt = end
        ends.append(nxt)
        at, size = nxt, 2 * size
    return ends
