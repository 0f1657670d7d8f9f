"""Networks on which priors other than independent normals are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import Normal, PerSite, he

CITATION = (
    "V. Fortuin, A. Garriga-Alonso, S. W. Ober, F. Wenzel, G. Rätsch, R. E. Turner, M. van der Wilk, L. Aitchison. Bayesian "
    "neural network priors revisited. ICLR 2022."
)


def by_channels(shape: torch.Size) -> float:
    """√2 over the root of the input channels alone, also for a convolution: theirs leaves out the places of the filter."""
    return (2.0 / shape[1]) ** 0.5


def fortuin_mlp(law: type[Any] = Normal, width: int = 50) -> BNN:
    """784-width-width-10 ReLU network, weights of scale √(2/inputs), biases N(0, 1), for MNIST. Fortuin et al. 2022.

    ``law`` is the law of the weights: ``Normal``, ``Laplace`` or ``StudentT``; x ``[n, 784]``.
    """
    prior = PerSite({"*.bias": Normal(1.0), "*": law(he)})
    return BNN(MLP(784, 10, hidden=(width, width), activation=nn.ReLU), prior, Categorical())


def fortuin_conv(law: type[Any] = Normal, width: int = 50) -> BNN:
    """Two 3×3 convolutions of ``width`` channels with pooling, then linear, for MNIST. Fortuin et al. 2022.

    Weights of scale √(2/input channels), biases N(0, 1); x ``[n, 1, 28, 28]``.
    """
    net = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(49 * width, 10),
    )
    return BNN(net, PerSite({"*.bias": Normal(1.0), "*": law(by_channels)}), Categorical())


FIT = "bz.SGHMC(chains=2, steps=40, warmup=20, batch_size=10)"
PAPER = (
    "The authors sample by gradient-guided Monte Carlo (GGMC) in 60 cycles of 5 draws, learning rate .01 and momentum "
    ".994. The nearest here is cyclical `bz.SGHMC(step_size=bz.schedules.cyclical(…), "
    "temperature=bz.schedules.exploring(…))`. Other laws: `law=bz.priors.Laplace` and `law=bz.priors.StudentT`."
)
UNCHECKED = (
    "Widths and depth are the defaults of the program, and were not compared with the paper. Figures of the paper are "
    "pictures; no number is quoted."
)
CARDS = {
    "fortuin_mlp": Card(
        formula="""
w ~ N(0, 2/inputs),  b ~ N(0, 1)        weights (or another law of that scale), biases
y ~ Categorical(softmax(net(x; w)))     net: 784-50-50-10, ReLU
""",
        fit=FIT,
        paper=PAPER,
        facts=(
            ("weights √2/√inputs, biases N(0, 1), ReLU", "ratschlab/bnn_priors, bnn_priors/models/dense_nets.py"),
            (
                "width 50, weight_scale 1.41, the sampler's settings",
                "ratschlab/bnn_priors, README and experiments/train_bnn.py",
            ),
            ("depth 3", "ratschlab/bnn_priors, bnn_priors/models/dense_nets.py"),
            ("3 degrees of freedom of the Student law", "ratschlab/bnn_priors, bnn_priors/prior/loc_scale.py"),
            ("the same scale for every law", "ratschlab/bnn_priors, bnn_priors/exp_utils.py"),
            ("42,310 weights", "counted"),
        ),
        traps=(
            "Biases are N(0, 1) whatever the law of the weights is.",
            "Laws are compared at one scale, not at one variance: Laplace has twice that of the normal, Student's three "
            "times.",
        ),
        unchecked=UNCHECKED,
        citation=CITATION,
    ),
    "fortuin_conv": Card(
        formula="""
w ~ N(0, 2/input channels),  b ~ N(0, 1)
y ~ Categorical(softmax(net(x; w)))     net: conv 50-3, pool, conv 50-3, pool, linear 2450-10; ReLU
""",
        fit=FIT,
        paper=PAPER,
        facts=(
            ("prior, paddings and pooling of the convolutions", "ratschlab/bnn_priors, bnn_priors/models/conv_nets.py"),
            ("47,560 weights", "counted"),
        ),
        traps=(
            "The scale of a filter is √2/√(input channels) and not √2/√(input channels · 9): nine times the variance of "
            "fan-in.",
        ),
        unchecked=UNCHECKED + " Their correlated prior of filters is `bz.priors.SpatialNormal`, in a `PerSite` of your own.",
        citation=CITATION,
    ),
}
