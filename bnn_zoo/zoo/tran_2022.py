"""The one-dimensional regression on which priors in function space are looked at."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..likelihoods import Gaussian
from ..nets import MLP
from ..priors import Normal


def tran_regression() -> BNN:
    """1-50-50-50-1 tanh network, weights N(0, 1), noise variance 0.1: the "fixed Gaussian" prior. Tran et al. 2022.

    The paper's baseline, which it replaces by priors matched to a Gaussian process in function space. x ``[n, 1]``.
    """
    return BNN(MLP(1, 1, hidden=(50, 50, 50), activation=nn.Tanh), Normal(1.0), Gaussian(0.1**0.5))
