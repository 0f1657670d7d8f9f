"""An optimiser of torch as a kernel: no noise, no temperature, one optimiser for all chains at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .langevin import Heat, LangevinInfo


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


@node
class OptimiserState(NamedTuple):
    """Position ``[chain, dim]`` and what the optimiser remembers of it, such as moments and the number of steps.

    A state that a step was made from is used up: position and moments are changed in place.
    """

    position: Tensor
    moments: dict[str, Any]


@dataclass(frozen=True)
class Optimise:
    """Steps of ``make([position])``, such as ``torch.optim.Adam``, up the log joint; ``step_size`` is its learning rate.

    Chains do not meet as long as the optimiser works coordinate by coordinate, as Adam, RMSprop and SGD do.
    """

    make: Callable[..., Any] = torch.optim.Adam
    optimisers: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Those that are used, by dtype and device: they hold settings alone, and nothing of a run between steps."""
    one_scale = False

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> OptimiserState:
        return OptimiserState(position.detach().clone(), {})

    def step(
        self, target: LogJointFn, state: OptimiserState, parameters: Heat, random: Randomness
    ) -> tuple[OptimiserState, LangevinInfo]:
        value, gradient = target(state.position)
        before = state.position.clone()
        return self.climbed(state, gradient, parameters.step_size), LangevinInfo(value, before, gradient)

    def climbed(self, state: OptimiserState, gradient: Tensor, rate: float) -> OptimiserState:
        """The state one step further up ``gradient [chain, dim]``. The position is moved in place, like the moments."""
        optimiser = self._optimiser(state.position)
        (group,) = optimiser.param_groups
        (leaf,) = group["params"]
        leaf.data, group["lr"] = state.position, rate
        leaf.grad = gradient if group.get("maximize") else gradient.neg()
        optimiser.state[leaf] = state.moments
        optimiser.step()
        return OptimiserState(state.position, optimiser.state[leaf])

    def _optimiser(self, position: Tensor) -> Any:
        key = position.dtype, position.device
        if key not in self.optimisers:
            optimiser = self.make([position.clone().requires_grad_()], lr=1.0)
            (group,) = optimiser.param_groups
            if group.get("maximize") is False:  # those of torch climb by themselves, which saves a copy of the gradient
                group["maximize"] = True
            self.optimisers[key] = optimiser
        return self.optimisers[key]
