"""Stochastic-gradient Langevin dynamics as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class SGLD(StochasticGradient):
    """``θ ← θ + ε/2 (∇log prior + N/n Σ_batch ∇log likelihood) + √(ε T) ξ``. Welling & Teh 2011.

    No accept step: biased at finite ε, so compare two step sizes. At ``temperature=0`` it is plain SGD on the negative log
    joint, with learning rate ε N/2 for the mean loss of a row. Settings: those of ``StochasticGradient``.
    """

    def kernel(self, rows: int, *, warming: bool) -> kernels.SGLD:
        return kernels.SGLD()
