"""Ways to infer: frozen dataclasses of settings with one method ``run(model, data, …) -> Draws``."""

from ..kernels.adaptation import DenseMass, DiagonalMass
from .hmc import HMC
from .mean_field import MeanField
from .nuts import NUTS
from .sgld import SGLD

__all__ = ["HMC", "NUTS", "SGLD", "DenseMass", "DiagonalMass", "MeanField"]
