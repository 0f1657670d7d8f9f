"""The program of the full-batch samplers: warm-up and draws of a kernel that tunes itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..run import Record

Statistics = Callable[[Any, Any, Any], dict[str, Tensor]]
"""Of the kernel's state before a transition, after it, and its info: what is kept of it, ``{name: [chain]}``."""


@node
class SamplingState(NamedTuple):
    """The kernel's state; transitions that diverged in this phase, and whether one did since the last draw, ``[chain]``."""

    chains: Any
    diverged: Tensor
    lost: Tensor


@dataclass(frozen=True)
class Sampling:
    """``warmup`` transitions, then ``draws · thinning`` of which every ``thinning``-th is a draw.

    A draw counts as diverging if any transition since the last one diverged. ``traced`` statistics of every
    ``trace_every``-th transition of the warm-up go into the history.
    """

    kernel: Any
    warmup: int
    draws: int
    thinning: int
    statistics: Statistics
    traced: tuple[str, ...]
    trace_every: int
    said: Callable[[SamplingState], str]

    @property
    def phases(self) -> dict[str, int]:
        return {"warm-up": self.warmup, "draws": self.draws * self.thinning}

    @property
    def traces(self) -> int:
        return -(-self.warmup // self.trace_every)

    def init(self, target: Any, position: Tensor, random: Any) -> SamplingState:
        none = torch.zeros(len(position), dtype=torch.long, device=position.device)
        return SamplingState(self.kernel.init(position, target, random), none, none.bool())

    def step(
        self, target: Any, rows: tuple[Tensor, ...], carry: SamplingState, random: Any, at: int
    ) -> tuple[SamplingState, Record]:
        before, diverged, lost = carry
        chains, info = self.kernel.step(target, before, None, random)
        if at < self.warmup:
            trace = None
            if at % self.trace_every == 0:
                stats = self.statistics(before, chains, info)
                trace = {name: stats[name] for name in self.traced}
            last = at + 1 == self.warmup
            diverged = torch.zeros_like(diverged) if last else diverged + info.diverging
            return SamplingState(chains, diverged, lost), Record(trace=trace)
        diverged, lost, draw = diverged + info.diverging, lost | info.diverging, None
        if (at - self.warmup + 1) % self.thinning == 0:
            draw = chains.position, self.statistics(before, chains, info) | {"diverging": lost}
            lost = torch.zeros_like(lost)
        return SamplingState(chains, diverged, lost), Record(draw)

    def describe(self, carry: SamplingState) -> str:
        return self.said(carry)
