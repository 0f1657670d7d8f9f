"""Neal's three example networks, as they come with his software for flexible Bayesian modelling. Neal 1996, chapter 4.

Each group of weights is normal around 0 with one precision, whose gamma prior he writes ``width:alpha``. A leading x in his
notation scales the width by the number of inputs of a unit, N: by N^(−1/2), or N^(−1/α₂) where a second α₂ < 2 follows.
"""

from __future__ import annotations

import torch
from torch import nn

from ..bnn import BNN
from ..likelihoods import Bernoulli, Categorical, Gaussian
from ..nets import MLP
from ..priors import GammaPrecision, Normal, PerInput, PerSite, fan_in

ALPHA = 0.5
WIDTH = 0.05


def _scaled(shape: torch.Size) -> float:
    """x0.05: the width by N^(−1/2)."""
    return WIDTH * fan_in(shape)


def _relevance(shape: torch.Size) -> float:
    """x0.2 before a second α₂ = 1: the width by 1/N."""
    return 0.2 / shape[1]


GROUP = Normal(GammaPrecision(WIDTH, ALPHA))
INTO_OUTPUT = Normal(GammaPrecision(_scaled, ALPHA))


def neal_regression() -> BNN:
    """1-8-1 tanh network for ``rdata``: y ``[n]`` real, x ``[n, 1]``. Neal 1996; noise 0.05:0.5.

    Weights 0.05:0.5, hidden biases 0.05:0.5, output weights x0.05:0.5, output bias N(0, 100²). Its posterior has two modes:
    one start finds one of them, and R-hat does not tell.
    """
    prior = PerSite({"0.*": GROUP, "2.weight": INTO_OUTPUT, "2.bias": Normal(100.0)})
    return BNN(MLP(1, 1, hidden=(8,), activation=nn.Tanh), prior, Gaussian(GammaPrecision(WIDTH, ALPHA)))


def neal_binary() -> BNN:
    """2-15-1 tanh network for ``bdata``: y ``[n]`` of 0 and 1, x ``[n, 2]``; priors of ``neal_regression``. Neal 1996."""
    prior = PerSite({"0.*": GROUP, "2.weight": INTO_OUTPUT, "2.bias": Normal(100.0)})
    return BNN(MLP(2, 1, hidden=(15,), activation=nn.Tanh), prior, Bernoulli())


def neal_classes() -> BNN:
    """4-8-3 tanh network for ``cdata``: y ``[n]`` of 0, 1, 2, x ``[n, 4]``, relevance of inputs learnt. Neal 1996.

    Input weights x0.2:0.5:1, one precision an input (Gamma of mean that of all inputs, α₂ = 1) under a common one of mean
    400; hidden biases 0.05:0.5, output weights x0.05:0.5, output biases 0.05:0.5. Two inputs do not matter.
    """
    into = Normal(PerInput(GammaPrecision(GammaPrecision(_relevance, ALPHA), alpha=1.0)))
    prior = PerSite({"0.weight": into, "2.weight": INTO_OUTPUT, "*.bias": GROUP})
    return BNN(MLP(4, 3, hidden=(8,), activation=nn.Tanh), prior, Categorical())
