"""Probability laws that torch and Pyro lack, with their Kullback-Leibler divergences; and what all laws need."""

from .dropped import Dropped
from .generalised_normal import GeneralisedNormal
from .kronecker_normal import KroneckerNormal
from .log_uniform import LogUniform
from .moved import moved
from .normal_mixture import NormalMixture
from .open_beta import OpenBeta
from .root_inverse_gamma import RootInverseGamma
from .scale import check_scale
from .scaled_normal import ScaledNormal
from .unvalidated import unvalidated
from .weighted_categorical import WeightedCategorical, unweighted

__all__ = [
    "Dropped",
    "GeneralisedNormal",
    "KroneckerNormal",
    "LogUniform",
    "NormalMixture",
    "OpenBeta",
    "RootInverseGamma",
    "ScaledNormal",
    "WeightedCategorical",
    "check_scale",
    "moved",
    "unvalidated",
    "unweighted",
]
