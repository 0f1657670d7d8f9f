"""The stochastic-gradient Nosé-Hoover thermostat as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from .. import kernels
from ._settings import within
from ._stochastic import StochasticGradient


@dataclass(frozen=True, kw_only=True)
class SGNHT(StochasticGradient):
    """SGHMC whose friction rises until the kinetic temperature is T: minibatch noise is cooled away. Ding et al. 2014.

    friction
        a, where the friction begins, and the noise that is added.
    coupling
        c, how fast it follows the kinetic temperature.
    """

    friction: float = 0.05
    coupling: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, friction=(0.0, 1.0 + 1e-9), coupling=(0.0, float("inf")))

    def kernel(self, rows: int, *, warming: bool) -> kernels.SGNHT:
        return kernels.SGNHT(self.friction, self.coupling)
