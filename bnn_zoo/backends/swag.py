"""SWAG: a Gaussian fitted to the iterates of SGD. Maddox et al. 2019."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import kernels
from .._random import Streams
from ..run import Recorder, Run
from ..types import Schedule
from ._draws import Place, blocks
from ._settings import at_least, share
from ._sinks import before_lost
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class SWAG(StochasticGradient):
    """Draws of ``N(θ̄, ½ diag(Σ) + D Dᵀ / (2 (K − 1)))`` with moments of the iterates of SGD at a constant step.

    Maddox, Izmailov, Garipov, Vetrov & Wilson 2019, algorithm 1. Settings: those of ``StochasticGradient`` at temperature 0;
    after the burn-in every ``thinning``-th iterate is a snapshot (by default 30 in all, the paper's number with one an
    epoch); start from a trained network (``density.FromNet``) or let the burn-in train it.

    draws
        draws of that normal law, of each chain.
    rank
        K: how many of the last snapshots make up D.
    momentum
        of the SGD; the effective step is ``step_size / (1 − momentum)``.
    """

    streams: ClassVar[bool] = False
    temperature: float | Schedule = 0.0
    draws: int = 100
    rank: int = 20
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, draws=1, rank=2)
        if self.temperature != 0.0:
            raise ValueError("SWAG has no temperature: its spread is that of the iterates")
        share(self, "momentum")
        if len(self.kept) < 2:
            raise ValueError(f"SWAG needs two snapshots or more, got {len(self.kept)}: thin less, or make more steps")

    @property
    def kept(self) -> range | list[int]:
        left = self.steps - self.burn_in
        every = self.thinning or ceil(left / 30)
        return range(self.burn_in, self.steps)[every - 1 :: every]

    @property
    def drawn(self) -> int:
        return self.draws

    @property
    def held(self) -> int:
        return len(self.kept)

    def kernel(self, rows: int, *, warming: bool) -> kernels.SGHMC:
        return kernels.SGHMC(1.0 - self.momentum)

    def sink(self, where: Place) -> Any:
        return Recorder(self.held)

    def finished(self, run: Run, where: Place, batches: Any) -> tuple[dict[str, Tensor], list[str]]:
        snapshots, _ = run.sink.result()
        count = before_lost(torch.isfinite(snapshots).all(-1).all(0))
        doubts = self.lost(count, snapshots.shape[1])
        if count < 2:
            raise KeyboardInterrupt("SWAG was interrupted before its second snapshot: nothing to return")
        for chain, own in enumerate(snapshots[:, :count]):
            for block in blocks(run.target, self.draws):
                draws = self.draw(own, chain, len(block), run.random)
                where.put(chain, block.start, run.target.constrain(draws))
        return {"snapshots": torch.full((len(snapshots), self.draws), float(count))}, doubts

    def draw(self, snapshots: Tensor, chain: int, count: int, random: Streams) -> Tensor:
        """``count`` draws ``[draw, dim]`` of the law of these snapshots ``[snapshot, dim]`` of a chain."""
        mean = snapshots.mean(0)
        deviations = (snapshots - mean)[-self.rank :]
        rank = len(deviations)
        z1, z2 = random.own(chain, count, len(mean)), random.own(chain, count, rank)
        diagonal = snapshots.var(0, correction=0).sqrt()
        return z1.mul_(diagonal / 2**0.5).add_(mean).addmm_(z2 / (2.0 * (rank - 1)) ** 0.5, deviations)
