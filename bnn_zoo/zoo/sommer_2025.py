"""The tabular network of microcanonical Langevin ensembles."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..likelihoods import HeteroscedasticGaussian
from ..nets import MLP
from ..priors import Normal


def sommer_regression(inputs: int = 5) -> BNN:
    """inputs-16-16-2 ReLU network that predicts mean and size of the noise, weights N(0, 1). Sommer et al. 2025.

    x ``[n, inputs]`` and y standardised; five inputs for airfoil, with 402 weights. The paper starts members from trained
    networks and samples each by MCLMC. Its scale head may differ in form from the softplus of ``HeteroscedasticGaussian``.
    """
    return BNN(MLP(inputs, 2, hidden=(16, 16), activation=nn.ReLU), Normal(1.0), HeteroscedasticGaussian())
