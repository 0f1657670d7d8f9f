"""Published Bayesian networks, one a file: a function that returns the model with the paper's network, prior and likelihood.

The facts of each (architecture, number of weights, data, temperature) stand in the catalogue: ``bnn-zoo show NAME``. A
density never changes under a name.
"""

from .blundell_2015 import blundell_mnist
from .li_2016 import li_mnist
from .li_2023 import li_surrogate
from .neal_1996 import neal_binary, neal_classes, neal_regression
from .sommer_2025 import sommer_regression
from .tran_2022 import tran_regression, tran_uci
from .welling_teh_2011 import welling_teh_mixture

__all__ = [
    "blundell_mnist",
    "li_mnist",
    "li_surrogate",
    "neal_binary",
    "neal_classes",
    "neal_regression",
    "sommer_regression",
    "tran_regression",
    "tran_uci",
    "welling_teh_mixture",
]
