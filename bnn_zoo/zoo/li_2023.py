"""The surrogate of a study of Bayesian networks in Bayesian optimisation."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..likelihoods import Gaussian
from ..nets import MLP
from ..priors import Normal


def li_surrogate(inputs: int = 2) -> BNN:
    """inputs-128-128-128-1 tanh network, weights N(0, 10), noise variance 0.1 (variances). Li, Rudner & Wilson 2023.

    The paper samples it by HMC, 500 + 500 draws in float64. x ``[n, inputs]``, two for the Branin function.
    """
    return BNN(MLP(inputs, 1, hidden=(128, 128, 128), activation=nn.Tanh), Normal(10.0**0.5), Gaussian(0.1**0.5))
