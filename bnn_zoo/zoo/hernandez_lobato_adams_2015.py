"""The tabular network of probabilistic backpropagation, the model behind the usual UCI benchmark."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Gaussian
from ..priors import GammaPrecision, Normal, Shared
from ._layers import Times

PRECISION = GammaPrecision(1.0, alpha=12.0)
"""Gamma(6, rate 6) on the precision."""


def hernandez_lobato_uci(inputs: int = 13, width: int = 50) -> BNN:
    """inputs-width-1 ReLU network, weights N(0, 1/λ), noise 1/γ, λ and γ ~ Gamma(6, 6). Hernández-Lobato & Adams 2015.

    What enters a unit is divided by √(its inputs + 1). One λ for all weights and biases: site ``"net_scale"`` is λ^(−1/2).
    x ``[n, inputs]`` and y ``[n]`` standardised; 751 weights for the 13 inputs of boston. Protein and year have width 100.
    """
    net = nn.Sequential(
        nn.Linear(inputs, width),
        Times((inputs + 1) ** -0.5),
        nn.ReLU(),
        nn.Linear(width, 1),
        Times((width + 1) ** -0.5),
    )
    return BNN(net, Shared(Normal(PRECISION), "net"), Gaussian(PRECISION))


CARDS = {
    "hernandez_lobato_uci": Card(
        formula="""
λ ~ Gamma(6, rate 6),  γ ~ Gamma(6, rate 6)
w ~ N(0, 1/λ)                           each weight and bias, one λ for all
z = (W h + b) / √(inputs + 1)           what enters each unit; ReLU after the first layer
y ~ N(net(x; w), 1/γ)                   net: d-50-1; y standardised
""",
        fit="bz.MCLMC(chains=2, warmup=20, draws=20)",
        paper="Probabilistic backpropagation: moments of the output are passed forward, and 40 sweeps of assumed density "
        "filtering update a normal for each weight. It is not in the library: `bz.MeanField` fits the same family by the "
        "ELBO, `bz.NUTS` and `bz.MCLMC` sample the model itself.",
        facts=(
            (
                "Gamma(6, 6) on both precisions, one for all weights",
                "HIPS/Probabilistic-Backpropagation, theano/PBP_net/prior.py and c/PBP_net/network.c",
            ),
            (
                "division by √(inputs + 1) of the whole of what enters a unit",
                "the same, theano/PBP_net/network_layer.py and c/PBP_net/network.c",
            ),
            ("40 sweeps, the recommended number", "the same, c/PBP_net/PBP_net.py"),
            ("751 weights for boston, 451 to 1,101 for the others", "counted"),
        ),
        figures=tuple(
            Figure(f"{name}, mean test log likelihood in nats, 20 splits", value)
            for name, value in zip(
                ("boston", "concrete", "energy", "kin8nm", "power plant", "yacht"),
                ("−2.57", "−3.16", "−2.04", ".90", "−2.84", "−1.63"),
                strict=True,
            )
        ),
        why="What `MCLMC` makes of a network of 50 tanh units with N(0, 1) weights on these tables is in "
        "`docs/samplers.md`.",
        traps=(
            "The prior is on the undivided weights. As a law of the weights of a usual network its variance is 1/(λ "
            "(inputs + 1)), and the bias is divided too.",
            "One λ for the whole network: a λ for each layer is another model.",
            "Figures of several papers standardise with test rows, or give standard errors where others give standard "
            "deviations.",
        ),
        citation="J. M. Hernández-Lobato, R. P. Adams. Probabilistic backpropagation for scalable learning of Bayesian "
        "neural networks. ICML 2015.",
    )
}
