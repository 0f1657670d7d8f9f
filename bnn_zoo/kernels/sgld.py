"""Stochastic-gradient Langevin dynamics. Welling & Teh 2011, eq. 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..types import LogJointFn


class SGLDState(NamedTuple):
    """Position ``[chain, dim]``: all that the next step needs."""

    position: Tensor


class SGLDInfo(NamedTuple):
    """``lp [chain]``: the minibatch estimate of the log joint at the position before the step."""

    lp: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True)
class SGLD:
    """``θ ← θ + ε/2 ∇log p(θ, batch) + √(ε T) ξ``, ξ ~ N(0, 1), with the batch's rows scaled by N/n in log p.

    Its stationary law tends to p^(1/T) as ε → 0. There is no Metropolis step: at finite ε the bias is of order ε, and
    minibatch noise adds ε²/4 Var[∇log p] per step to the injected ε T.
    """

    @staticmethod
    def init(position: Tensor, log_joint: LogJointFn) -> SGLDState:
        return SGLDState(position)

    @staticmethod
    def step(
        state: SGLDState, log_joint: LogJointFn, step_size: float, temperature: float, generator: torch.Generator
    ) -> tuple[SGLDState, SGLDInfo]:
        q = state.position
        value, gradient = log_joint(q)
        new = torch.add(q, gradient, alpha=0.5 * step_size)
        if temperature > 0:
            noise = torch.empty_like(q).normal_(0.0, (step_size * temperature) ** 0.5, generator=generator)
            new += noise
        return SGLDState(new), SGLDInfo(value, gradient.square().sum(1).sqrt())
