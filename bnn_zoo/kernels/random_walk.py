"""Random-walk Metropolis. Metropolis et al. 1953; scaling: Roberts, Gelman & Gilks 1997."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..types import LogJointFn, Randomness
from .hmc import Dynamics, HMCInfo, HMCState, _column, init


@dataclass(frozen=True)
class RandomWalk:
    """Propose ``q + ε 2.38/√d M^(−1/2) ξ``, ξ ~ N(0, 1); accept with probability min(1, p(q')/p(q)).

    ε = 1 with the right mass matrix accepts 23 % of the proposals on a Gaussian of many dimensions, which is the best that
    can be done: the cost of an independent draw grows as d.
    """

    init = staticmethod(init)

    @staticmethod
    def step(target: LogJointFn, state: HMCState, parameters: Dynamics, random: Randomness) -> tuple[HMCState, HMCInfo]:
        """One transition of all chains."""
        (metric, step_size), q = parameters, state.position
        noise = metric.velocity(metric.sample(random))  # M⁻¹ p ~ N(0, M⁻¹)
        new_q = q + (2.38 / q.shape[-1] ** 0.5) * step_size.unsqueeze(-1) * noise
        value, gradient = target(new_q)
        error = torch.nan_to_num(state.log_joint - value, nan=torch.inf)
        rate = torch.exp(-error).clamp(max=1.0)
        accept = random.uniform() < rate
        ends = (new_q, value, gradient)
        new = HMCState(*(torch.where(_column(accept, b), a, b) for a, b in zip(ends, state, strict=True)))
        never = torch.zeros_like(accept)  # a proposal far down is ordinary here, not a sign of failure
        return new, HMCInfo(rate, -new.log_joint, error, never, torch.ones_like(rate))
