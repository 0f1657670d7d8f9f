"""bnn_zoo: Bayesian neural networks as plain Pyro models, any backend, ArviZ out."""

from . import data, density, diagnostics, export, guides, handlers, likelihoods, metrics, nets, plots, priors, schedules
from .backends import (
    HMC,
    MAP,
    MCLMC,
    NUTS,
    PSGLD,
    SGHMC,
    SGLD,
    SGNHT,
    SWAG,
    AdjustedMCLMC,
    ChEES,
    DeepEnsemble,
    DenseMass,
    DiagonalLaplace,
    DiagonalMass,
    FisherMass,
    Laplace,
    LowRankFisherMass,
    MCDropout,
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
    "DataError",
    "DeepEnsemble",
    "DenseMass",
    "DiagonalLaplace",
    "DiagonalMass",
    "Draws",
    "FisherMass",
    "Laplace",
    "LogJoint",
    "LowRankFisherMass",
    "MCDropout",
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
    "handlers",
    "likelihoods",
    "load",
    "metrics",
    "nets",
    "plots",
    "priors",
    "schedules",
]
