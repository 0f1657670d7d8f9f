"""Ways to infer: frozen dataclasses of settings with one method ``run(model, data, …) -> Draws``."""

from ..kernels.dense import DenseFisherMass, DenseMass
from ..kernels.low_rank import LowRankFisherMass
from ..kernels.mass import DiagonalMass, FisherMass
from .adjusted_mclmc import AdjustedMCLMC
from .chees import ChEES
from .hmc import HMC
from .laplace import DiagonalLaplace, Laplace
from .map import MAP, DeepEnsemble
from .mc_dropout import MCDropout
from .mclmc import MCLMC
from .mean_field import MeanField
from .nuts import NUTS
from .psgld import PSGLD
from .random_walk import RandomWalk
from .rows_over_ranks import RowsOverRanks
from .sghmc import SGHMC
from .sgld import SGLD
from .sgnht import SGNHT
from .swag import SWAG

__all__ = [
    "HMC",
    "MAP",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "SWAG",
    "AdjustedMCLMC",
    "ChEES",
    "DeepEnsemble",
    "DenseFisherMass",
    "DenseMass",
    "DiagonalLaplace",
    "DiagonalMass",
    "FisherMass",
    "Laplace",
    "LowRankFisherMass",
    "MCDropout",
    "MeanField",
    "RandomWalk",
    "RowsOverRanks",
]
