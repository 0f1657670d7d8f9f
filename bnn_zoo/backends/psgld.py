"""Preconditioned SGLD as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ._settings import within
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class PSGLD(StochasticGradient):
    """SGLD with the preconditioner of RMSprop: ``G = 1 / (λ + √V)``, V a running mean square of gradients. Li et al. 2016.

    For posteriors whose scales differ, as between a network's layers. The term Γ of the exact dynamics is left out, so some
    bias stays however small ε is. ε is in units of the preconditioned gradient: Li et al.'s, times 1/N.

    decay, damping
        α of the running mean and λ.
    """

    decay: float = 0.99
    damping: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, decay=(0.0, 1.0), damping=(0.0, float("inf")))

    def kernel(self, rows: int, *, warming: bool) -> kernels.PSGLD:
        return kernels.PSGLD(rows, self.decay, self.damping)
