"""The largest step that a Langevin sampler can make: two over the largest curvature, measured as burn-in goes.

A step ε along curvature λ multiplies the distance from the mode by 1 − ελ/2: beyond ελ = 4 it grows without end, at 2 the
variance of that direction is twice what it should be (``docs/backends.md``). λ is found by power iteration on
Hessian-vector products, each the difference of two gradients on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._ranks import ALONE, Pool
from .._tree import node
from ..types import LogJointFn, Randomness
from .langevin import Heat, LangevinInfo

STABLE, UNSTABLE = 2.0, 3.0
"""ελ to which a step is lowered, and beyond which it is: the noise of a measured λ and of its changes lies between."""
FIRST, SOME = 10, 2
"""Power iterations of the first measurement, and of the later ones, which go on from its direction."""
GROWTH = 1.15
"""Measurements are made at steps 0, 1, 2, … and then ever rarer, each so many times as late as the one before."""
FAR = 8.0
"""Standard deviations of a step's noise by which a coordinate may move before λ is measured again, and momentum is lost."""


@node
@dataclass
class Stability:
    """Curvature ``[chain]`` of −log joint where chains are, and the step size that it allows all of them."""

    limit: float = float("inf")
    next: int = 0
    direction: Tensor | None = None
    last: Tensor | None = None

    def allowed(
        self,
        at: int,
        step_size: float,
        position: Tensor,
        gradient: Tensor,
        slope: Callable[[Tensor], Tensor],
        random: Randomness,
        pool: Pool = ALONE,
    ) -> tuple[float, bool]:
        """The step size to make at step ``at`` of burn-in, at most ``step_size``, and whether momentum is to be forgotten.

        gradient: at ``position [chain, dim]``, of the log joint. slope: that gradient at any position, on the same rows.
        Far from the mode a momentum that was gathered on a gentle slope would run into the next wall.
        """
        here = min(step_size, self.limit)
        moved = torch.zeros_like(position) if self.last is None else position - self.last
        far = pool.any(bool((torch.maximum(gradient.abs() * (0.5 * here), moved.abs()) > FAR * here**0.5).any()))
        self.last = position
        if at >= self.next or far:
            self.measure(step_size, position, gradient, slope, random, pool)
            self.next = max(at + 1, int(at * GROWTH)) if at >= self.next else self.next
        return min(step_size, self.limit), far

    def measure(
        self,
        step_size: float,
        position: Tensor,
        gradient: Tensor,
        slope: Callable[[Tensor], Tensor],
        random: Randomness,
        pool: Pool = ALONE,
    ) -> None:
        """λ of each chain, and from the largest of all in the ``pool`` the limit."""
        count = SOME
        if self.direction is None:
            self.direction, count = random.normal(position.shape[-1]), FIRST
        width = 1e-3 if position.dtype == torch.float32 else 1e-5
        curvature = torch.zeros_like(gradient[:, 0])
        for _ in range(count):
            unit = self.direction / self.direction.norm(dim=1, keepdim=True)
            self.direction = ((gradient - slope(position + width * unit)) / width).nan_to_num(0.0, 1e30, -1e30)
            curvature = self.direction.norm(dim=1)
            self.direction = torch.where(curvature[:, None] > 0, self.direction, unit)
        largest = float(pool.every(curvature).max())
        self.limit = STABLE / largest if step_size * largest > UNSTABLE else float("inf")


@node
class LimitedState(NamedTuple):
    """State of the kernel inside, the curvature that was measured, which a step changes in place, and the last ε and T."""

    inner: Any
    stability: Stability
    last: Heat
    step: int

    @property
    def position(self) -> Tensor:
        position: Tensor = self.inner.position
        return position


@dataclass(frozen=True)
class StepLimit:
    """``warming`` for ``warmup`` steps, no larger than the curvature allows where all coordinates have one step size; then
    ``kernel``, at most with the last limit. It is one for all chains of ``pool``, of which those here may be a part."""

    kernel: Any
    warming: Any
    warmup: int
    pool: Pool = ALONE

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> LimitedState:
        return LimitedState(self.warming.init(position, target, random), Stability(), Heat(0.0, 0.0), 0)

    def step(
        self, target: LogJointFn, state: LimitedState, parameters: Heat, random: Randomness
    ) -> tuple[LimitedState, LangevinInfo]:
        inner, stability, last, at = state
        if at < self.warmup and self.warming.one_scale:
            value, gradient = target(state.position)
            allowed, far = stability.allowed(
                at, parameters.step_size, state.position, gradient, lambda q: target(q)[1], random, self.pool
            )
            if at and (far or allowed != last.step_size):
                inner = self.warming.resized(inner, 0.0 if far else allowed / last.step_size)
            here = parameters._replace(step_size=allowed)
            inner, info = self.warming.step(lambda _: (value, gradient), inner, here, random)
        else:
            here = parameters._replace(step_size=min(parameters.step_size, stability.limit))
            inner, info = (self.warming if at < self.warmup else self.kernel).step(target, inner, here, random)
        return LimitedState(inner, stability, here, at + 1), info
