"""Microcanonical Langevin Monte Carlo. Robnik & Seljak, "Microcanonical Langevin Monte Carlo", AABI 2024."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .integrators import in_one_call, inline
from .isokinetic import MCLACHLAN, check_splitting, trajectory, unit


@node
class MCLMCState(NamedTuple):
    """Position ``[chain, dim]``, unit velocity ``[chain, dim]``, log joint ``[chain]`` and its gradient."""

    position: Tensor
    velocity: Tensor
    log_joint: Tensor
    gradient: Tensor


@node
class Microcanonical(NamedTuple):
    """Parameters: scales σ ``[chain, dim]``, step size ε and decoherence length L ``[chain]`` in their units."""

    scale: Tensor
    step_size: Tensor
    length: Tensor


class MCLMCInfo(NamedTuple):
    """Per chain: the energy error of the step, inf where it was taken back, and whether it was."""

    energy_error: Tensor
    diverging: Tensor


@dataclass(frozen=True)
class MCLMC:
    """Isokinetic dynamics whose velocity forgets its direction over a length L; no accept step, so biased at finite ε.

    Each step first perturbs the velocity, ``u ← (u + ν ξ) / |u + ν ξ|`` with ξ ~ N(0, 1) and
    ``ν² = (exp(2 ε / L) − 1) / d``, then moves by the splitting ``coefficients``. The stationary law tends to the posterior
    as ε → 0; the variance of the energy error per dimension measures the bias (Robnik et al. 2023, section 3.2). A step
    whose energy error passes √d, tens of times what is usual, or is not finite is taken back and the velocity turned
    round: in a stiff place it would throw the chain far away.
    """

    coefficients: tuple[float, ...] = MCLACHLAN

    def __post_init__(self) -> None:
        check_splitting("MCLMC", self.coefficients)

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> MCLMCState:
        value, gradient = target(position)
        return MCLMCState(position, unit(random.normal(position.shape[-1])), value, gradient)

    def step(
        self, target: LogJointFn, state: MCLMCState, parameters: Microcanonical, random: Randomness
    ) -> tuple[MCLMCState, MCLMCInfo]:
        """One step of all chains."""
        move = langevin(self.coefficients)
        given = (*state, random.normal(state.position.shape[-1]), *parameters)
        made = in_one_call(target, move, given, ())
        *new, error, bad = inline(target, move)(*given) if made is None else made
        return MCLMCState(*new), MCLMCInfo(error, bad)


@cache
def langevin(coefficients: tuple[float, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """One step as a function of tensors: ``(log_joint, *state, ξ, σ, ε, L) -> (*state, energy error, diverging)``."""

    def move(log_joint: LogJointFn, *tensors: Tensor) -> tuple[Tensor, ...]:
        x, u, value, gradient, noise, scale, step_size, length = tensors
        nu = torch.sqrt(torch.expm1(2 * step_size / length) / x.shape[-1])
        u = unit(u + nu.unsqueeze(-1) * noise)
        step = step_size.unsqueeze(-1)
        new, error = trajectory(log_joint, scale, step, (x, u, value, gradient), coefficients)
        good = (error.abs() <= x.shape[-1] ** 0.5) & torch.isfinite(new[2])
        rows = good.unsqueeze(-1)
        kept = (
            torch.where(rows, new[0], x),
            torch.where(rows, new[1], -u),
            torch.where(good, new[2], value),
            torch.where(rows, new[3], gradient),
        )
        return *kept, torch.where(good, error, torch.inf), ~good

    return move
