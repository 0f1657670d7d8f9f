"""Likelihoods: the law of one row of y given the network's output for that row. One a file."""

from .bernoulli import Bernoulli
from .categorical import Categorical
from .gaussian import Gaussian
from .heteroscedastic import HeteroscedasticGaussian

__all__ = ["Bernoulli", "Categorical", "Gaussian", "HeteroscedasticGaussian"]
