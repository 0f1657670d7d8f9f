"""An optimiser of torch as a kernel: no noise, no temperature, one optimiser for all chains at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..types import LogJointFn
from .langevin import LangevinInfo


class OptimiserState(NamedTuple):
    """Position ``[chain, dim]`` and the optimiser, which moves it in place."""

    position: Tensor
    optimiser: Any


@dataclass(frozen=True)
class Optimise:
    """Steps of ``make([position])``, such as ``torch.optim.Adam``, up the log joint; ``step_size`` is its learning rate.

    Chains do not meet as long as the optimiser works coordinate by coordinate, as Adam, RMSprop and SGD do.
    """

    make: Callable[..., Any] = torch.optim.Adam

    def init(self, position: Tensor, log_joint: LogJointFn) -> OptimiserState:
        leaf = position.detach().clone().requires_grad_()
        return OptimiserState(leaf.detach(), self.make([leaf], lr=1.0))

    @staticmethod
    def step(
        state: OptimiserState, log_joint: LogJointFn, step_size: float, temperature: float, generator: torch.Generator
    ) -> tuple[OptimiserState, LangevinInfo]:
        before = state.position.clone()
        value, gradient = log_joint(before)
        (group,) = state.optimiser.param_groups
        group["lr"] = step_size
        group["params"][0].grad = gradient.neg()
        state.optimiser.step()
        return state, LangevinInfo(value, before, gradient)
