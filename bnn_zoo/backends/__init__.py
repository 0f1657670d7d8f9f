"""Ways to infer: frozen dataclasses of settings with one method ``run(model, data, …) -> Draws``."""

from ..kernels.low_rank import LowRankFisherMass
from ..kernels.mass import DenseMass, DiagonalMass, FisherMass
from .adjusted_mclmc import AdjustedMCLMC
from .chees import ChEES
from .hmc import HMC
from .mclmc import MCLMC
from .mean_field import MeanField
from .nuts import NUTS
from .psgld import PSGLD
from .random_walk import RandomWalk
from .sghmc import SGHMC
from .sgld import SGLD
from .sgnht import SGNHT

__all__ = [
    "HMC",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdjustedMCLMC",
    "ChEES",
    "DenseMass",
    "DiagonalMass",
    "FisherMass",
    "LowRankFisherMass",
    "MeanField",
    "RandomWalk",
]
