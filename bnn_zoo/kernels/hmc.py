"""Hamiltonian Monte Carlo with a fixed integration time. Duane et al. 1987; Neal 2011."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, fsum
from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .integrators import for_each_chain, leapfrog
from .metric import Metric, kinetic

DIVERGENCE = 1000.0
"""Energy error beyond which a trajectory counts as divergent (as in Stan)."""


@node
class HMCState(NamedTuple):
    """Position ``[chain, dim]``, its log joint ``[chain]`` and gradient ``[chain, dim]``."""

    position: Tensor
    log_joint: Tensor
    gradient: Tensor


class HMCInfo(NamedTuple):
    """Per chain, ``[chain]``: what ArviZ calls these names; ``n_steps`` are leapfrog steps."""

    acceptance_rate: Tensor
    energy: Tensor
    energy_error: Tensor
    diverging: Tensor
    n_steps: Tensor


@node
class Dynamics(NamedTuple):
    """Parameters of a kernel on Hamiltonian phase space: its metric, and its step size ``[chain]``."""

    metric: Metric
    step_size: Tensor


def init(position: Tensor, target: LogJointFn, random: Randomness) -> HMCState:
    value, gradient = target(position)
    return HMCState(position, value, gradient)


@dataclass(frozen=True)
class HMC:
    """Leapfrog for ``trajectory_length`` (in units of the metric: posterior standard deviations), then Metropolis.

    The number of steps, ``ceil(u · trajectory_length / ε)`` with u uniform on (1 − jitter, 1 + jitter), at most
    ``max_leapfrogs``, is drawn anew each transition, the same for all chains, so that no chain waits and no period of the
    posterior is hit in step (Neal 2011, section 5.4.2.1).
    """

    trajectory_length: float = 2.0
    max_leapfrogs: int = 1000
    jitter: float = 0.5

    init = staticmethod(init)

    def step(
        self, target: LogJointFn, state: HMCState, parameters: Dynamics, random: Randomness
    ) -> tuple[HMCState, HMCInfo]:
        """One transition of all chains."""
        metric, step_size = parameters
        length = self.trajectory_length * (1.0 + self.jitter * (2.0 * random.common() - 1.0))
        sizes = step_size.tolist()
        count = min(max(1, ceil(length * len(sizes) / fsum(sizes))), self.max_leapfrogs)
        q, value, gradient = state
        p = metric.sample(random)
        start = q, p, value, gradient
        end = leapfrog(target, metric, step_size.unsqueeze(-1), start, count)
        *new, rate, energy, error, diverging = for_each_chain(
            target, metropolis(type(metric)), *metric, random.uniform(), *start, *end
        )
        steps = torch.full_like(diverging, count, dtype=torch.int32)
        return HMCState(*new), HMCInfo(rate, energy, error, diverging, steps)


@cache
def metropolis(metric: type) -> Callable[..., tuple[Tensor, ...]]:
    """The end of a trajectory, accepted with probability ``min(1, exp(−energy error))``, or else its start.

    ``(log_joint, *metric, uniform [chain], *start, *end) -> (*state, acceptance rate, energy, its error, diverging)``, start
    and end being phase points.
    """

    def choose(_: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        *mass, uniform, q, p, value, gradient, q_end, p_end, value_end, gradient_end = tensors
        energy = kinetic(metric(*mass), p) - value
        error = torch.nan_to_num(kinetic(metric(*mass), p_end) - value_end - energy, nan=torch.inf)
        rate = torch.exp(-error).clamp(max=1.0)
        accept = uniform < rate
        pairs = (q_end, q), (value_end, value), (gradient_end, gradient)
        new = (torch.where(_column(accept, b), a, b) for a, b in pairs)
        return *new, rate, energy + torch.where(accept, error, 0.0), error, error > DIVERGENCE

    return choose


def _column(mask: Tensor, like: Tensor) -> Tensor:
    """A ``[chain]`` mask shaped to select whole rows of ``like``."""
    return mask.reshape(mask.shape + (1,) * (like.dim() - 1))
