"""Metropolis-adjusted microcanonical sampling. Robnik, Cohn-Gordon & Seljak, "Metropolis adjusted microcanonical
Hamiltonian Monte Carlo", arXiv:2503.01707, 2025."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .hmc import DIVERGENCE, HMCInfo, HMCState, _column, init
from .integrators import repeated
from .isokinetic import LEAPFROG, check_splitting, trajectory, unit
from .metric import Diagonal


@node
class Flown(NamedTuple):
    """Parameters: the metric, the step size ``[chain]``, and the mean length of trajectories in place of the kernel's."""

    metric: Diagonal
    step_size: Tensor
    length: float


@dataclass(frozen=True)
class AdjustedMCLMC:
    """A trajectory of isokinetic dynamics from a fresh random direction, accepted with probability ``exp(−energy error)``.

    Exact: the map is reversible and the energy error counts its change of volume. Settings are in the units of ``HMC``, one
    posterior standard deviation in every dimension, that is a path of √d: the number of steps is
    ``ceil(2 u · trajectory_length / ε)`` with u uniform on (0, 1), the same for all chains, at most ``max_steps``.
    Parameters are ``Dynamics``, or ``Flown`` with another length.
    """

    trajectory_length: float = 1.5
    max_steps: int = 256
    coefficients: tuple[float, ...] = LEAPFROG

    def __post_init__(self) -> None:
        check_splitting("AdjustedMCLMC", self.coefficients)

    init = staticmethod(init)

    def step(self, target: LogJointFn, state: HMCState, parameters: Any, random: Randomness) -> tuple[HMCState, HMCInfo]:
        """One transition of all chains; the metric is diagonal."""
        metric, step_size, *given = parameters
        length = given[0] if given else self.trajectory_length
        count = min(max(1, ceil(2.0 * random.common() * length / float(step_size.mean()))), self.max_steps)
        x, value, gradient = state
        start = x, unit(random.normal(x.shape[-1])), value, gradient, torch.zeros_like(value)
        (variance,) = metric
        held = variance.sqrt() * x.shape[-1] ** 0.5, step_size
        x, _, value, gradient, error = repeated(target, isokinetic(self.coefficients), held, start, count)
        error = torch.nan_to_num(error, nan=torch.inf)
        rate = torch.exp(-error).clamp(max=1.0)
        accept = random.uniform() < rate
        ends = (x, value, gradient)
        new = HMCState(*(torch.where(_column(accept, b), a, b) for a, b in zip(ends, state, strict=True)))
        steps = torch.full_like(rate, count * (len(self.coefficients) // 2))
        return new, HMCInfo(rate, -new.log_joint, error, error > DIVERGENCE, steps)


@cache
def isokinetic(coefficients: tuple[float, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """One step as a function of tensors: ``(log_joint, σ, ε, *state) -> state``, which is ``(x, u, value, gradient, error)``
    with the energy error of all steps so far."""

    def move(log_joint: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        scale, step_size, x, u, value, gradient, error = tensors
        new, change = trajectory(log_joint, scale, step_size.unsqueeze(-1), (x, u, value, gradient), coefficients)
        return *new, error + change

    return move
