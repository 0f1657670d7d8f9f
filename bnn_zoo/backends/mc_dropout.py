"""Monte Carlo dropout as a backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..guides import MCDropout as Family
from ..handlers import RowMasks
from ..types import Model
from ._settings import names, share
from ._variational import Variational


@dataclass(frozen=True, kw_only=True)
class MCDropout(Variational):
    """Dropout as variational inference: inputs of layers are off with probability ``rate``, and each draw is one mask.

    Gal & Ghahramani 2016. Training is that of a network with dropout and the prior's L2 term; prediction averages over
    ``draws`` masks, each the same for all rows, so that a draw is a function. Settings: those of ``Variational``, and

    rate, sites
        as in ``guides.MCDropout``: by default half of the inputs of every layer but the first.
    """

    rate: float = 0.5
    sites: tuple[str, ...] | None = None
    handler: Callable[[], AbstractContextManager[Any]] = RowMasks

    def __post_init__(self) -> None:
        super().__post_init__()
        share(self, "rate")
        names(self, "sites")

    def family(self, model: Model, init_loc_fn: Callable[[Any], Tensor]) -> Any:
        return Family(model, rate=self.rate, sites=self.sites, init_loc_fn=init_loc_fn)
