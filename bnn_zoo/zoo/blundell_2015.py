"""The digits network of Bayes by Backprop."""

from __future__ import annotations

import math

from torch import nn

from ..bnn import BNN
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import ScaleMixture


def blundell_mnist(width: int = 400, share: float = 0.5, slab: float = 1.0, spike: float = math.exp(-6.0)) -> BNN:
    """784-width-width-10 ReLU network, weights of a spike and a slab, for MNIST. Blundell et al. 2015, section 5.1.

    The paper takes widths 400, 800 and 1200 and chooses ``share`` π of the slab among ¼, ½, ¾, −log ``slab`` among 0, 1, 2
    and −log ``spike`` among 6, 7, 8 on validation rows; inputs are pixels (0 … 255) over 126, x ``[n, 784]``.
    """
    prior = ScaleMixture(slab, share=share, ratio=spike / slab)
    return BNN(MLP(784, 10, hidden=(width, width), activation=nn.ReLU), prior, Categorical())
