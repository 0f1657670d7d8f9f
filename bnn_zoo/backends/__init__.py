"""Ways to infer: frozen dataclasses of settings with one method ``run(model, data, …) -> Draws``."""

from ..kernels.mass import DenseMass, DiagonalMass, FisherMass
from .adjusted_mclmc import AdjustedMCLMC
from .chees import ChEES
from .hmc import HMC
from .mclmc import MCLMC
from .mean_field import MeanField
from .nuts import NUTS
from .random_walk import RandomWalk
from .sgld import SGLD

__all__ = [
    "HMC",
    "MCLMC",
    "NUTS",
    "SGLD",
    "AdjustedMCLMC",
    "ChEES",
    "DenseMass",
    "DiagonalMass",
    "FisherMass",
    "MeanField",
    "RandomWalk",
]
