"""Likelihoods: the law of one row of y given the network's output for that row. One a file."""

from .bernoulli import Bernoulli
from .beta import Beta
from .categorical import Categorical
from .gaussian import Gaussian
from .heteroscedastic import HeteroscedasticGaussian
from .laplace import Laplace
from .mixture_density import MixtureDensity
from .multivariate_normal import MultivariateNormal
from .negative_binomial import NegativeBinomial
from .ordinal import Ordinal
from .poisson import Poisson
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Gaussian",
    "HeteroscedasticGaussian",
    "Laplace",
    "MixtureDensity",
    "MultivariateNormal",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
]
