"""Bayesian compression: scales of groups under which whole units are pruned."""

from __future__ import annotations

from typing import Any

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..nets import LeNet5Caffe, LeNet300100
from ..priors import HalfCauchy, LogUniform, Normal, PerInput, PerSite, PerUnit

CITATION = "C. Louizos, K. Ullrich, M. Welling. Bayesian compression for deep learning. NeurIPS 2017."


GROUP_HORSESHOE = HalfCauchy(HalfCauchy(1e-5))
"""z ~ C⁺(0, s) for each group, s ~ C⁺(0, 1e-5) for each layer."""
NORMAL_JEFFREYS = LogUniform()
"""p(z) ∝ 1/|z| for each group."""


def _prior(scale: Any, convolutions: tuple[str, ...] = ()) -> PerSite:
    """A scale for each input of a linear layer and each output channel of a convolution; biases N(0, 1)."""
    channels = {name: Normal(PerUnit(scale)) for name in convolutions}
    return PerSite({"*.bias": Normal(1.0)} | channels | {"*": Normal(PerInput(scale))})


def louizos_lenet300100(scale: Any = NORMAL_JEFFREYS) -> BNN:
    """LeNet-300-100, weights N(0, z²), z log-uniform for each input of a layer: group normal-Jeffreys. Louizos et al. 2017.

    ``scale=HalfCauchy(HalfCauchy(1e-5))`` is their group horseshoe: z = s z̃, s ~ C⁺(0, 1e-5) of the layer. x
    ``[n, 1, 28, 28]`` or ``[n, 784]``. The log-uniform law is improper: start from ``density.from_support`` or a network.
    """
    return BNN(LeNet300100(), _prior(scale), Categorical())


def louizos_lenet5(scale: Any = GROUP_HORSESHOE) -> BNN:
    """LeNet-5 of Caffe, group horseshoe: z for each output channel, and each input of a linear layer. Louizos et al. 2017.

    ``scale=LogUniform()`` is their group normal-Jeffreys prior. x ``[n, 1, 28, 28]``.
    """
    return BNN(LeNet5Caffe(), _prior(scale, ("0.weight", "2.weight")), Categorical())


PAPER = (
    "Normals for weights and scales (log-normals for the scales of the horseshoe), trained by Adam with local "
    "reparameterisation; then units with small scales are cut and bits chosen by the variances. Here: "
    "`bz.MeanField(batch_size=128, init=bz.density.FromNet(net), guide=bz.guides.ScaledNormal, "
    "handler=bz.handlers.LocalReparameterization)`, then `bz.compress(posterior)`."
)
FACTS = (
    (
        "groups: inputs of linear layers, output channels of convolutions; biases N(0, 1)",
        "KarenUllrich/Tutorial_BayesianCompressionForDL, BayesianLayers.py",
    ),
)
LENET5 = ("compression and error of LeNet-5-Caffe and VGG", "KarenUllrich/Tutorial_BayesianCompressionForDL, README")
TRAPS = (
    "The published ratios divide by weights left after whole units are cut, and the larger ones also by bits: say which.",
    "Its example scales pixels to [−1, 1] and cuts the variance of the first layer at .04: neither is here.",
    "The program's divergence of a convolution's weights takes their log-variance for a log standard deviation: its two "
    "kinds of layer do not have the same divergence.",
)
COMMAND = "python tests/benchmarks/compression.py --out FOLDER "
CARDS = {
    "louizos_lenet300100": Card(
        formula="""
p(z) ∝ 1/|z|                            for each input of each layer
w ~ N(0, z²),  b ~ N(0, 1)              weights from that input; biases
y ~ Categorical(softmax(net(x; w)))     net: 784-300-100-10, ReLU
""",
        fit="bz.MeanField(steps=3, draws=4, batch_size=10, init=bz.density.from_support)",
        around='bz.handlers.NonCentred({}, "*.weight")',
        paper=PAPER,
        facts=(*FACTS, ("266,610 weights", "counted")),
        figures=(
            Figure(
                "group normal-Jeffreys: weights over weights left, units left, at test error",
                "9, 278-98-13, at 1.8 %",
                "15, 446-81-68, at 1.90 %",
            ),
            Figure("group horseshoe: the same", "9, 311-86-14, at 1.8 %", "15, 432-87-73, at 1.88 %"),
        ),
        command=COMMAND + "--methods gnj ghs --nets lenet300",
        traps=(
            *TRAPS,
            "The law of z is improper, with a pole at 0: MCMC is not for it, and the library's samplers "
            "refuse it. The group horseshoe is proper.",
            "Mean field needs the non-centred form, w = z w̃, which is the paper's family: centred, 1/z² has no expectation "
            "under a normal q(z).",
        ),
        unchecked="The figures were taken from a table of another source than the program.",
        citation=CITATION,
    ),
    "louizos_lenet5": Card(
        formula="""
s ~ C⁺(0, 1e-5) for each layer,  z ~ C⁺(0, s) for each output channel, or input of a linear layer
w ~ N(0, z²),  b ~ N(0, 1)              weights of that group; biases
y ~ Categorical(softmax(net(x; w)))     net: conv 20-5, pool, conv 50-5, pool, 500 ReLU, 10
""",
        fit="bz.MeanField(steps=3, draws=4, batch_size=10, init=bz.density.from_support)",
        around='bz.handlers.NonCentred({}, "*.weight")',
        paper=PAPER,
        facts=(*FACTS, LENET5, ("431,080 weights", "counted")),
        figures=(
            Figure(
                "group horseshoe: weights over weights left, also by bits, at test error",
                "156, 419, at 1.0 %",
                "143, 810, at 1.02 %",
            ),
            Figure("group normal-Jeffreys: the same", "108, 361, at 1.0 %", "145, 812, at 1.03 %"),
        ),
        command=COMMAND + "--methods gnj ghs --nets lenet5",
        traps=(*TRAPS, "C⁺(0, 1e-5) for s with z̃ ~ C⁺(0, 1) and z = s z̃ is the same law as z ~ C⁺(0, s)."),
        unchecked="The scale 1e-5 of s is that of two reproductions: the published program has the normal-Jeffreys layers "
        "alone.",
        citation=CITATION,
    ),
}
