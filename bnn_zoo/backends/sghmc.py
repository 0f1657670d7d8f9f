"""Stochastic-gradient Hamiltonian Monte Carlo as a backend, plain, scale-adapted or with cyclical steps."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ._settings import flags, within
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class SGHMC(StochasticGradient):
    """SGLD with momentum 1 − a: ``v ← (1 − a) v + ε/2 ∇log p + √(a ε T) ξ;  θ ← θ + v``. Chen, Fox & Guestrin 2014.

    At ``temperature=0`` it is SGD with momentum, at ``friction=1`` SGLD. Cyclical SGHMC (Zhang et al. 2020) is
    ``SGHMC(step_size=cyclical(ε, cycles=4), temperature=exploring(cycles=4), warmup=0)``.

    friction
        a, in (0, 1]: 0.05 to 0.1 is usual. The effective step is ε/a.
    scale_adapted
        divide by the root mean square of each gradient, learnt in burn-in (Springenberg et al. 2016): for posteriors whose
        scales differ.
    """

    friction: float = 0.05
    scale_adapted: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, friction=(0.0, 1.0 + 1e-9))
        flags(self, "scale_adapted")

    def kernel(self, rows: int, *, warming: bool) -> kernels.SGHMC:
        return kernels.SGHMC(self.friction, rows, self.scale_adapted, self.scale_adapted and warming)
