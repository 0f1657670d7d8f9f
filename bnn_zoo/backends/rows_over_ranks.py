"""Rows of the data over ranks, as a backend around another."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from .._ranks import UNSPREAD, Spread
from ..run import Checkpoint
from ..types import Backend, Draws, Model


@dataclass(frozen=True)
class RowsOverRanks:
    """``backend`` with the rows of the data spread over the processes that ``torchrun`` has started, and not its chains.

    For data or networks too large, or gradients too slow, for one process. Every process is given the whole data and takes
    every so manyth row, of each minibatch where there are such. All make all chains: value and gradient of the log joint are
    added up by one all-reduce a gradient, the prior is counted once, and noise and accept decisions are the same everywhere.
    So the draws are those of one process, but for the rounding of sums, which in the end makes other draws of the same law.
    What augmentation draws at random for an item is another number than in one process. In one process it is ``backend``.

    The model is called as ``model(*rows, size=N)``: a BNN, or a model whose likelihood is in one plate,
    ``pyro.plate("data", size or len(x), subsample=x)``. Raises TypeError for backends other than the samplers on all rows
    (NUTS, HMC, ChEES, MCLMC, …) and on minibatches (SGLD, SGHMC, MAP, SWAG, Laplace, …).
    """

    backend: Any

    def __post_init__(self) -> None:
        name = type(self.backend).__name__
        if isinstance(self.backend, type) or not isinstance(self.backend, Backend):
            raise TypeError(f"RowsOverRanks needs a backend with its settings, such as NUTS(chains=4); got {self.backend!r}")
        if "ranks" not in inspect.signature(self.backend.run).parameters or isinstance(self.backend, RowsOverRanks):
            raise TypeError(f"{name} cannot spread rows over ranks: take NUTS, HMC, MCLMC, SGLD, SGHMC, MAP or SWAG")

    def run(
        self,
        model: Model,
        data: Any,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool = True,
        checkpoint: Checkpoint | None = None,
        ranks: Spread = UNSPREAD,
    ) -> Draws:
        """As that of ``backend``."""
        draws: Draws = self.backend.run(
            model,
            data,
            seed=seed,
            device=device,
            progress=progress,
            checkpoint=checkpoint,
            ranks=Spread(rows=ranks.chains),
        )
        return draws
