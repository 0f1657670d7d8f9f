"""An optimiser of torch as a kernel: no noise, no temperature, one optimiser for all chains at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..types import LogJointFn
from .langevin import LangevinInfo


def check_coordinatewise(make: Callable[..., Any], name: str, why: str = "chains share it") -> None:
    """Raise TypeError, saying ``why``, unless ``make`` gives an optimiser that moves each coordinate by its own gradients.

    Two chains are moved twice, then again with other gradients for the second: the first must not notice.
    """
    wanted = (
        f"{name}: optimiser must work coordinate by coordinate from gradients alone, as torch.optim.Adam and SGD do, "
        f"since {why}; {getattr(make, '__name__', make)}"
    )
    ends = []
    for other in (1.0, -3.0):
        leaf = torch.ones(2, 4, requires_grad=True)
        try:
            optimiser = make([leaf], lr=1.0)
            for i in range(2):
                leaf.grad = torch.tensor([[1.0, 2.0, -1.0, 0.5], [other, 1.0, other, i]])
                optimiser.step()
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise TypeError(f"{wanted} fails: {error}") from error
        ends.append(leaf.detach()[0])
    if not torch.equal(*ends):
        raise TypeError(f"{wanted} mixes them")


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
    one_scale = False

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
