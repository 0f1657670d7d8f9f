"""The digits network of preconditioned stochastic-gradient Langevin dynamics."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import Normal


def li_mnist(width: int = 400) -> BNN:
    """784-width-width-10 ReLU network, weights N(0, 1), for MNIST. Li, Chen, Carlson & Carin 2016, section 5.

    x ``[n, 784]``. The authors' program adds its noise over N, so it samples at temperature 1/N, not 1: for their figures
    take ``PSGLD(temperature=1 / 60_000)``.
    """
    return BNN(MLP(784, 10, hidden=(width, width), activation=nn.ReLU), Normal(1.0), Categorical())
