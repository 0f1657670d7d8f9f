"""bnn_zoo: Bayesian neural networks as plain Pyro models, any backend, ArviZ out."""

from . import likelihoods, nets, priors, schedules
from .backends import HMC, NUTS, SGLD, DenseMass, DiagonalMass, MeanField
from .bnn import BNN

__version__ = "0.1.0"
__all__ = [
    "BNN",
    "HMC",
    "NUTS",
    "SGLD",
    "DenseMass",
    "DiagonalMass",
    "MeanField",
    "likelihoods",
    "nets",
    "priors",
    "schedules",
]
