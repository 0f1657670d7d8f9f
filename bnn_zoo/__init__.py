"""bnn_zoo: Bayesian neural networks as plain Pyro models, any backend, ArviZ out."""

from . import data, density, diagnostics, export, guides, likelihoods, metrics, nets, plots, priors, schedules
from .backends import (
    HMC,
    MCLMC,
    NUTS,
    PSGLD,
    SGHMC,
    SGLD,
    SGNHT,
    AdjustedMCLMC,
    ChEES,
    DenseMass,
    DiagonalMass,
    FisherMass,
    LowRankFisherMass,
    MeanField,
    RandomWalk,
)
from .bnn import BNN
from .density import LogJoint
from .export import compare, load
from .fit import fit
from .posterior import Posterior
from .predict import Prediction
from .types import DataError, Draws, ModelError

__version__ = "0.1.0"
__all__ = [
    "BNN",
    "HMC",
    "MCLMC",
    "NUTS",
    "PSGLD",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "AdjustedMCLMC",
    "ChEES",
    "DataError",
    "DenseMass",
    "DiagonalMass",
    "Draws",
    "FisherMass",
    "LogJoint",
    "LowRankFisherMass",
    "MeanField",
    "ModelError",
    "Posterior",
    "Prediction",
    "RandomWalk",
    "compare",
    "data",
    "density",
    "diagnostics",
    "export",
    "fit",
    "guides",
    "likelihoods",
    "load",
    "metrics",
    "nets",
    "plots",
    "priors",
    "schedules",
]
