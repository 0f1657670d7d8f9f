"""Draws and statistics in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._tree import node


@node
@dataclass
class Recorder:
    """Draws in memory: positions ``[draw, chain, dim]`` and statistics ``[draw, chain]``, of ``room`` draws at most."""

    room: int
    count: int = 0
    positions: Tensor | None = None
    stats: dict[str, Tensor] = field(default_factory=dict)

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        if self.positions is None:
            self.positions = position.new_empty((self.room, *position.shape))
            self.stats = {k: v.new_empty((self.room, *v.shape)) for k, v in stats.items()}
        if self.count == len(self.positions):  # of a run that was made longer
            more = max(self.room - self.count, self.count)
            self.positions = torch.cat([self.positions, position.new_empty((more, *position.shape))])
            self.stats = {k: torch.cat([v, v.new_empty((more, *v.shape[1:]))]) for k, v in self.stats.items()}
        if position.numel():
            self.positions[self.count] = position
        for name, value in stats.items():
            self.stats[name][self.count] = value
        self.count += 1

    def result(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Positions ``[chain, draw, dim]`` and statistics ``[chain, draw]`` of the draws made so far."""
        assert self.positions is not None
        kept = {k: v[: self.count].transpose(0, 1) for k, v in self.stats.items()}
        return self.positions[: self.count].transpose(0, 1), kept

    # as a sink of a run that is kept: all of it is in the state

    @property
    def tree(self) -> Recorder:
        return self

    def restore(self, tree: Recorder) -> int:
        """Draws in the store: none."""
        self.count, self.positions, self.stats = tree.count, tree.positions, tree.stats
        return 0
