"""Sparse variational dropout on the two networks of compression."""

from __future__ import annotations

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..nets import LeNet5Caffe, LeNet300100
from ..priors import LogUniform, Normal, PerSite

CITATION = "D. Molchanov, A. Ashukha, D. Vetrov. Variational dropout sparsifies deep neural networks. ICML 2017."
PRIOR = PerSite({"*.bias": Normal(1.0), "*": LogUniform()})


def molchanov_lenet300100() -> BNN:
    """LeNet-300-100, weights log-uniform, biases N(0, 1), for MNIST. Molchanov, Ashukha & Vetrov 2017.

    The prior is improper with a pole at 0: fit it by ``MeanField`` with ``handlers.LocalReparameterization`` and starts from
    a network. x ``[n, 1, 28, 28]`` or ``[n, 784]``.
    """
    return BNN(LeNet300100(), PRIOR, Categorical())


def molchanov_lenet5() -> BNN:
    """LeNet-5 of Caffe, weights log-uniform, biases N(0, 1), for MNIST: as ``molchanov_lenet300100``. Molchanov et al. "
    "2017."""
    return BNN(LeNet5Caffe(), PRIOR, Categorical())


FORMULA = """
p(w) ∝ 1/|w|,  b ~ N(0, 1)              weights, biases
y ~ Categorical(softmax(net(x; w)))     net: {}
q(w) = N(μ, σ²)                         weights with σ² > e³ μ² are pruned
"""
FIT = (
    "bz.MeanField(steps=3, draws=4, batch_size=10, init=bz.density.from_support, "
    "handler=bz.handlers.LocalReparameterization)"
)
PAPER = (
    "Adam with a local reparameterisation; the weight of the KL term grows over the first epochs. Here, from a trained "
    "network: `bz.MeanField(batch_size=128, init=bz.density.FromNet(net), "
    "handler=bz.handlers.LocalReparameterization)`."
)
TRAPS = (
    "The prior is improper and its posterior has a pole at 0: MCMC is not for it.",
    "The divergence to the prior is a fitted curve, off by 0.009 at most, in the paper and here, and known up to a "
    "constant: an ELBO of it cannot be compared with that of another prior.",
    "The program has no prior on biases: N(0, 1) here takes its place.",
    "The program sets the means of weights that it will cut to 0 in training too, so that its ELBO is not that of its q.",
)
SVDO = "bayesgroup/variational-dropout-sparsifies-dnn, svdo-lasagne"
SCHEDULE = (
    "200 epochs, batches of 100, Adam at 1e-3, the divergence's weight 0 for 5 epochs and then rising to 1 at 20, weights "
    "cut at log α = 3",
    SVDO,
)
COMMAND = "python tests/benchmarks/compression.py --out FOLDER --methods svd --nets "
CARDS = {
    "molchanov_lenet300100": Card(
        formula=FORMULA.format("784-300-100-10, ReLU"),
        fit=FIT,
        paper=PAPER,
        facts=(
            ("784-300-100-10, ReLU", SVDO),
            SCHEDULE,
            ("266,610 weights", "counted"),
            ("compression and error", "bayesgroup/variational-dropout-sparsifies-dnn, README"),
        ),
        figures=(Figure("weights over weights left, at test error", "68, at 1.92 %", "38, at 1.91 %"),),
        command=COMMAND + "lenet300",
        traps=TRAPS,
        citation=CITATION,
    ),
    "molchanov_lenet5": Card(
        formula=FORMULA.format("conv 20-5, pool, conv 50-5, pool, 500 ReLU, 10"),
        fit=FIT,
        paper=PAPER,
        facts=(
            ("layers", SVDO),
            SCHEDULE,
            ("431,080 weights", "counted"),
            ("compression and error", "bayesgroup/variational-dropout-sparsifies-dnn, README"),
        ),
        figures=(Figure("weights over weights left, at test error", "280, at .75 %", "193, at 1.02 %"),),
        command=COMMAND + "lenet5",
        traps=(
            *TRAPS,
            "Convolutions have a ReLU in the program. Caffe's LeNet-5, which the paper names and ours is, has none.",
        ),
        citation=CITATION,
    ),
}
