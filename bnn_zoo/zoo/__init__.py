"""Published Bayesian networks, one a file: a function that returns the model with the paper's network, prior and likelihood.

The facts of each (architecture, number of weights, data, temperature) stand in the catalogue: ``bnn-zoo show NAME``. A
density never changes under a name.
"""

from .blundell_2015 import blundell_mnist
from .chen_2014 import chen_mnist
from .fortuin_2022 import fortuin_conv, fortuin_mlp
from .gal_ghahramani_2016 import gal_lenet, gal_uci
from .immer_2021 import immer_mnist
from .izmailov_2021 import izmailov_resnet
from .li_2016 import li_mnist
from .li_2023 import li_surrogate
from .molchanov_2017 import molchanov_lenet5, molchanov_lenet300100
from .neal_1996 import neal_binary, neal_classes, neal_regression
from .sharma_2023 import sharma_regression
from .sommer_2025 import sommer_regression
from .tran_2022 import tran_regression, tran_uci
from .welling_teh_2011 import welling_teh_mixture
from .wenzel_2020 import wenzel_resnet
from .wilson_izmailov_2020 import wilson_izmailov_regression

__all__ = [
    "blundell_mnist",
    "chen_mnist",
    "fortuin_conv",
    "fortuin_mlp",
    "gal_lenet",
    "gal_uci",
    "immer_mnist",
    "izmailov_resnet",
    "li_mnist",
    "li_surrogate",
    "molchanov_lenet5",
    "molchanov_lenet300100",
    "neal_binary",
    "neal_classes",
    "neal_regression",
    "sharma_regression",
    "sommer_regression",
    "tran_regression",
    "tran_uci",
    "welling_teh_mixture",
    "wenzel_resnet",
    "wilson_izmailov_regression",
]
