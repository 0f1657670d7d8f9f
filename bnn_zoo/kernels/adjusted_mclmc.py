"""Metropolis-adjusted microcanonical sampling. Robnik, Cohn-Gordon & Seljak, "Metropolis adjusted microcanonical
Hamiltonian Monte Carlo", arXiv:2503.01707, 2025."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil

import torch
from torch import Tensor

from ..types import LogJointFn
from .hmc import DIVERGENCE, HMCInfo, HMCState, _column, init, uniform
from .integrators import inline
from .isokinetic import MCLACHLAN, check_splitting, trajectory, unit
from .metric import Diagonal


@dataclass(frozen=True)
class AdjustedMCLMC:
    """A trajectory of isokinetic dynamics from a fresh random direction, accepted with probability ``exp(−energy error)``.

    Exact: the map is reversible and the energy error counts its change of volume. Settings are in the units of ``HMC``, one
    posterior standard deviation in every dimension, that is a path of √d: the number of steps is
    ``ceil(2 u · trajectory_length / ε)`` with u uniform on (0, 1), the same for all chains, at most ``max_steps``.
    """

    trajectory_length: float = 1.5
    max_steps: int = 256
    coefficients: tuple[float, ...] = MCLACHLAN

    def __post_init__(self) -> None:
        check_splitting("AdjustedMCLMC", self.coefficients)

    init = staticmethod(init)

    def step(
        self, state: HMCState, log_joint: LogJointFn, metric: Diagonal, step_size: Tensor, generator: torch.Generator
    ) -> tuple[HMCState, HMCInfo]:
        """One transition of all chains; ``step_size [chain]``."""
        u = float(torch.rand((), generator=generator, dtype=step_size.dtype, device=step_size.device))
        count = min(max(1, ceil(2.0 * u * self.trajectory_length / float(step_size.mean()))), self.max_steps)
        move = inline(log_joint, isokinetic(self.coefficients))
        x, value, gradient = state
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        velocity, error = unit(noise), torch.zeros_like(value)
        scale = metric.variance.sqrt() * x.shape[-1] ** 0.5
        for _ in range(count):
            x, velocity, value, gradient, change = move(x, velocity, value, gradient, scale, step_size)
            error = error + change
        error = torch.nan_to_num(error, nan=torch.inf)
        rate = torch.exp(-error).clamp(max=1.0)
        accept = uniform(rate, generator) < rate
        ends = (x, value, gradient)
        new = HMCState(*(torch.where(_column(accept, b), a, b) for a, b in zip(ends, state, strict=True)))
        steps = torch.full_like(rate, count * (len(self.coefficients) // 2))
        return new, HMCInfo(rate, -new.log_joint, error, error > DIVERGENCE, steps)


@cache
def isokinetic(coefficients: tuple[float, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """One step as a function of tensors: ``(log_joint, x, u, value, gradient, σ, ε) -> (x, u, value, gradient, error)``."""

    def move(log_joint: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        *point, scale, step_size = tensors
        x, u, value, gradient = point
        new, error = trajectory(log_joint, scale, step_size.unsqueeze(-1), (x, u, value, gradient), coefficients)
        return *new, error

    return move
