"""Published Bayesian networks, one a file: a function that returns the model with the paper's network, prior and likelihood.

The facts of each (architecture, number of weights, data, temperature) stand in the catalogue: ``bnn-zoo show NAME``. A
density never changes under a name.
"""

from .blundell_2015 import blundell_mnist
from .chen_2014 import chen_mnist
from .cohen_welling_2016 import cohen_welling_p4cnn, cohen_welling_z2cnn
from .fortuin_2022 import fortuin_conv, fortuin_mlp
from .gal_ghahramani_2016 import gal_lenet, gal_uci
from .hernandez_lobato_adams_2015 import hernandez_lobato_uci
from .immer_2021 import immer_mnist
from .izmailov_2021 import izmailov_imdb, izmailov_resnet
from .kendall_2015 import kendall_segnet
from .li_2016 import li_mnist
from .li_2023 import li_surrogate
from .louizos_2017 import louizos_lenet5, louizos_lenet300100
from .molchanov_2017 import molchanov_lenet5, molchanov_lenet300100
from .neal_1996 import neal_binary, neal_classes, neal_regression
from .palacci_hess_2018 import palacci_mnist
from .sharma_2023 import sharma_regression
from .sommer_2025 import sommer_regression
from .tran_2022 import tran_regression, tran_uci
from .ullrich_2017 import ullrich_lenet5, ullrich_lenet300100
from .welling_teh_2011 import welling_teh_mixture
from .wenzel_2020 import wenzel_imdb, wenzel_resnet
from .wilson_izmailov_2020 import wilson_izmailov_regression

__all__ = [
    "blundell_mnist",
    "chen_mnist",
    "cohen_welling_p4cnn",
    "cohen_welling_z2cnn",
    "fortuin_conv",
    "fortuin_mlp",
    "gal_lenet",
    "gal_uci",
    "hernandez_lobato_uci",
    "immer_mnist",
    "izmailov_imdb",
    "izmailov_resnet",
    "kendall_segnet",
    "li_mnist",
    "li_surrogate",
    "louizos_lenet5",
    "louizos_lenet300100",
    "molchanov_lenet5",
    "molchanov_lenet300100",
    "neal_binary",
    "neal_classes",
    "neal_regression",
    "palacci_mnist",
    "sharma_regression",
    "sommer_regression",
    "tran_regression",
    "tran_uci",
    "ullrich_lenet5",
    "ullrich_lenet300100",
    "welling_teh_mixture",
    "wenzel_imdb",
    "wenzel_resnet",
    "wilson_izmailov_regression",
]
