"""Soft weight sharing: networks under one mixture of normals that is learnt."""

from __future__ import annotations

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..nets import LeNet5Caffe, LeNet300100
from ..priors import GammaPrecision, GaussianMixture, Normal, Shared

CITATION = "K. Ullrich, E. Meeds, M. Welling. Soft weight-sharing for neural network compression. ICLR 2017."


def _prior(components: int, zero: float) -> Shared:
    """Precisions Gamma(250, rate 0.1), that of the component at zero Gamma(5000, rate 2)."""
    mixture = GaussianMixture(
        components - 1,
        location=Normal(1.0),
        scale=GammaPrecision((0.1 / 250.0) ** 0.5, alpha=500.0),
        zero=zero,
        zero_scale=GammaPrecision((2.0 / 5000.0) ** 0.5, alpha=10_000.0),
    )
    return Shared(mixture, "net")


def ullrich_lenet300100(components: int = 17, zero: float = 0.999) -> BNN:
    """LeNet-300-100, all weights of one learnt mixture of ``components`` normals, one of them at zero. Ullrich et al. 2017.

    ``zero`` is the share of the component at zero. Sites ``"net_share"``, ``"net_location"``, ``"net_scale"`` and
    ``"net_zero_scale"``. x ``[n, 1, 28, 28]`` or ``[n, 784]``.
    """
    return BNN(LeNet300100(), _prior(components, zero), Categorical())


def ullrich_lenet5(components: int = 17, zero: float = 0.999) -> BNN:
    """LeNet-5 of Caffe, otherwise as ``ullrich_lenet300100``. Ullrich et al. 2017."""
    return BNN(LeNet5Caffe(), _prior(components, zero), Categorical())


FORMULA = """
π ~ Dirichlet(1, …, 1),  μ_j ~ N(0, 1),  1/σ_j² ~ Gamma(250, rate 0.1)     16 components
1/σ_0² ~ Gamma(5000, rate 2)                                                the one at zero
w ~ 0.999 N(0, σ_0²) + 0.001 Σ_j π_j N(μ_j, σ_j²)                           every weight and bias
y ~ Categorical(softmax(net(x; w)))                                         net: {}
"""
FIT = "bz.MAP(steps=3)"
PAPER = (
    "Adam on network and mixture together, begun at a trained network, with learning rates of their own for means, "
    "precisions and shares; then each weight goes to the mean of its most probable component. Here "
    "`bz.MAP(batch_size=256, init=…)` finds the joint mode; `bz.compress(posterior, code=bz.compression.Clusters())` is the "
    "last step."
)
TRAPS = (
    "The program multiplies the prior's term by τ = 0.003: what it finds is the mode under the prior to the power 0.003, "
    "and not that of this model.",
    "Its tutorial states an expected variance of 0.02. Gamma(5000, 2) and Gamma(250, 0.1) are precisions around 2,500: "
    "0.02 is the standard deviation.",
    "Its network, 25-50-500 with strides, 642,460 weights, 16 components and share 0.99 at zero, is none of those of the "
    "paper's table.",
    "The program sets no prior on the means; N(0, 1) takes its place here. Components can change places: compare runs by "
    "what the network computes.",
)
UNCHECKED = (
    "17 components and the share 0.999 of the component at zero were taken from summaries of the paper and not from its "
    "text."
)
FACTS = (
    ("the Gamma laws of the precisions", "KarenUllrich/Tutorial-SoftWeightSharingForNNCompression, empirical_priors.py"),
    ("τ = 0.003", "the same, tutorial.ipynb"),
)
COMMAND = "python tests/benchmarks/compression.py --out FOLDER --methods sws --nets "
CARDS = {
    "ullrich_lenet300100": Card(
        formula=FORMULA.format("784-300-100-10, ReLU"),
        fit=FIT,
        paper=PAPER,
        facts=(*FACTS, ("266,610 weights", "counted")),
        figures=(Figure("compression with few bits, at test error", "64, at 1.94 %", "68, at 1.82 %, with 9 components"),),
        command=COMMAND + "lenet300",
        traps=TRAPS,
        unchecked=UNCHECKED,
        citation=CITATION,
    ),
    "ullrich_lenet5": Card(
        formula=FORMULA.format("conv 20-5, pool, conv 50-5, pool, 500 ReLU, 10"),
        fit=FIT,
        paper=PAPER,
        facts=(*FACTS, ("431,080 weights", "counted")),
        figures=(Figure("compression with few bits, at test error", "162, at 0.97 %", "169, at 0.89 %, with 9 components"),),
        command=COMMAND + "lenet5",
        traps=TRAPS,
        unchecked=UNCHECKED,
        citation=CITATION,
    ),
}
