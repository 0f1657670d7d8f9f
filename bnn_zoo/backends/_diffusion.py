"""The program of the stochastic-gradient samplers and optimisers: burn-in and draws along schedules."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..kernels.langevin import Heat, LangevinInfo
from ..kernels.step_limit import LimitedState, StepLimit
from ..run import Record


@node
class DiffusionState(NamedTuple):
    """The kernel's state, where burn-in ended ``[chain, dim]``, and the last log joint ``[chain]``."""

    chains: LimitedState
    reference: Tensor
    lp: Tensor


@dataclass(frozen=True)
class Diffusion:
    """``steps`` steps at ε and T of their schedules, as many of them burn-in as ``kernel.warmup``; ``kept`` are the draws.

    The log joint of every so manyth step, about 1,000 in all, goes into the history. ``name`` is what messages call it.
    """

    name: str
    kernel: StepLimit
    steps: int
    kept: Sequence[int]
    step_size: Callable[[int], float]
    temperature: Callable[[int], float]

    @property
    def phases(self) -> dict[str, int]:
        return {"burn-in": self.kernel.warmup, "draws": self.steps - self.kernel.warmup}

    @property
    def traces(self) -> int:
        return self.steps // self._every + 1

    @property
    def _every(self) -> int:
        return max(self.steps // 1000, 1)

    @cached_property
    def _draws(self) -> frozenset[int] | range:
        return self.kept if isinstance(self.kept, range) else frozenset(self.kept)

    def init(self, target: Any, position: Tensor, random: Any) -> DiffusionState:
        chains = self.kernel.init(position, target, random)
        return DiffusionState(chains, position, torch.full_like(position[:, 0], torch.nan))

    def step(
        self, target: Any, rows: tuple[Tensor, ...], carry: DiffusionState, random: Any, at: int
    ) -> tuple[DiffusionState, Record]:
        heat = Heat(self.step_size(at), self.temperature(at))
        chains, info = self.kernel.step((lambda q: target(q, *rows)) if rows else target, carry.chains, heat, random)
        carry = DiffusionState(chains, carry.reference, info.lp)
        if at + 1 == self.kernel.warmup:
            self._settle(chains, at + 1)
            carry = carry._replace(reference=chains.position.clone())
        draw = (chains.position, statistics(carry, info)) if at in self._draws else None
        return carry, Record(draw, {"lp": info.lp} if at % self._every == 0 else None)

    def _settle(self, chains: LimitedState, at: int) -> None:
        """End of burn-in: raise FloatingPointError if a chain has run away; warn where steps are smaller than asked for."""
        epsilon, limit = chains.last.step_size, chains.stability.limit
        if not bool(torch.isfinite(chains.position).all()):
            raise FloatingPointError(
                f"{self.name} diverged in burn-in: a chain reached non-finite weights by step {at} at step size "
                f"{epsilon:g}; use a smaller step_size (try {epsilon / 10:g})"
            )
        wanted = max(self.step_size(i) for i in {at, (at + self.steps) // 2, self.steps - 1})
        if wanted > limit:
            warnings.warn(
                f"{self.name}: step_size={wanted:.2g} is not stable on this posterior: steps of at most {limit:.2g} are "
                "made, two over its largest curvature at the end of burn-in; set step_size to that or less (or, if burn-in "
                "was too short to find the posterior, make more steps)",
                stacklevel=9,
            )

    def describe(self, carry: DiffusionState) -> str:
        return f"step size {carry.chains.last.step_size:.2e}, log joint {float(carry.lp.mean()):.4g}"


def statistics(carry: DiffusionState, info: LangevinInfo) -> dict[str, Tensor]:
    """What is kept of a draw, ``{name: [chain]}``."""
    lp, kinetic, last = info.lp, info.kinetic_temperature, carry.chains.last
    stats = {
        "lp": lp,
        "step_size": torch.full_like(lp, last.step_size),
        "temperature": torch.full_like(lp, last.temperature),
        "configurational_temperature": info.configurational_temperature(carry.reference),
    }
    return stats if kinetic is None else stats | {"kinetic_temperature": kinetic}
