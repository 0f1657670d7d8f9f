"""HMC whose trajectory length is tuned across chains. Hoffman, Radul & Sountsov, "An adaptive-MCMC scheme for setting
trajectory lengths in Hamiltonian Monte Carlo", AISTATS 2021."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .hmc import DIVERGENCE, _column
from .integrators import leapfrog
from .metric import Metric, kinetic


class Flight(NamedTuple):
    """What the tuning looks at: end position and momentum before the accept step ``[chain, dim]``, time travelled."""

    position: Tensor
    momentum: Tensor
    time: float


@node
class ChEESState(NamedTuple):
    """As ``HMCState``, and how many transitions were made."""

    position: Tensor
    log_joint: Tensor
    gradient: Tensor
    made: int


class ChEESInfo(NamedTuple):
    """As ``HMCInfo``, and the flight."""

    acceptance_rate: Tensor
    energy: Tensor
    energy_error: Tensor
    diverging: Tensor
    n_steps: Tensor
    flight: Flight


class Lockstep(NamedTuple):
    """Parameters: metric, step size ``[chain]``, all alike, and trajectory length T in units of the metric."""

    metric: Metric
    step_size: Tensor
    length: float


@dataclass(frozen=True)
class ChEES:
    """HMC with ``ceil(u T / ε)`` leapfrog steps, u from a van der Corput sequence on (0, 1), the same for all chains."""

    max_leapfrogs: int = 1000

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> ChEESState:
        value, gradient = target(position)
        return ChEESState(position, value, gradient, 0)

    def step(
        self, target: LogJointFn, state: ChEESState, parameters: Lockstep, random: Randomness
    ) -> tuple[ChEESState, ChEESInfo]:
        """One transition of all chains."""
        metric, step_size, length = parameters
        epsilon, u = float(step_size[0]), van_der_corput(state.made + 1)
        count = min(max(1, ceil(u * length / epsilon)), self.max_leapfrogs)
        q, value, gradient, made = state
        p = metric.sample(random)
        energy = kinetic(metric, p) - value
        phase = leapfrog(target, metric, step_size.unsqueeze(-1), (q, p, value, gradient), count)
        error = torch.nan_to_num(kinetic(metric, phase[1]) - phase[2] - energy, nan=torch.inf)
        rate = torch.exp(-error).clamp(max=1.0)
        accept = random.uniform() < rate
        ends = (phase[0], *phase[2:])
        q, value, gradient = (torch.where(_column(accept, b), a, b) for a, b in zip(ends, state[:3], strict=True))
        kept, flight = energy + torch.where(accept, error, 0.0), Flight(phase[0], phase[1], count * epsilon)
        info = ChEESInfo(rate, kept, error, error > DIVERGENCE, torch.full_like(rate, count), flight)
        return ChEESState(q, value, gradient, made + 1), info


def van_der_corput(i: int) -> float:
    """The i-th point, from 1, of the low-discrepancy sequence in base 2: 1/2, 1/4, 3/4, 1/8, …"""
    return int(f"{i:b}"[::-1], 2) / 2 ** i.bit_length()


@node
@dataclass
class TrajectoryLength:
    """Adam on log T up the expected change in squared distance from the mean, ¼ E[(|q' − Eq'|² − |q − Eq|²)²].

    Its derivative in the time t of a flight is ``(|q' − Eq'|² − |q − Eq|²) (q' − Eq')ᵀ M⁻¹p'``, averaged over chains with
    their acceptance rates as weights (eq. 14), in coordinates where the mass matrix is one.
    """

    log_length: float
    rate: float = 0.025
    count: int = 0
    mean: float = 0.0
    square: float = 0.0
    log_average: float = field(default=0.0)

    def update(self, before: Tensor, flight: Flight, acceptance_rate: Tensor, metric: Metric) -> None:
        """Take in the transition of all chains from positions ``before [chain, dim]``."""
        weight = acceptance_rate / acceptance_rate.sum().clamp(min=1e-10)
        weight = torch.where(torch.isfinite(flight.position).all(-1), weight, 0.0).unsqueeze(-1)
        after = flight.position.nan_to_num()
        variance = metric.velocity(torch.ones_like(before))
        from_mean, to_mean = before - before.mean(0), after - (weight * after).sum(0)
        change = (to_mean.square() / variance).sum(-1) - (from_mean.square() / variance).sum(-1)
        slope = change * (to_mean * flight.momentum.nan_to_num()).sum(-1)  # M⁻¹p / variance = p
        share = weight.squeeze(-1)
        gradient = float(torch.where(share > 0, share * slope, 0.0).sum()) * flight.time  # 0 · ∞ of a lost flight is 0
        if not isfinite(gradient):
            return
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.95 * self.square + 0.05 * gradient**2
        direction = self.mean / (1 - 0.9**self.count) / ((self.square / (1 - 0.95**self.count)) ** 0.5 + 1e-20)
        self.log_length += self.rate * direction
        keep = self.count**-0.5
        self.log_average = keep * self.log_length + (1 - keep) * self.log_average

    def rescale(self, log_ratio: float) -> None:
        """A new metric counts time in other units: T becomes ``exp(log_ratio)`` times itself."""
        self.log_length += log_ratio
        self.log_average += log_ratio
