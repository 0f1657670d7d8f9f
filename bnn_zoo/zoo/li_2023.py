"""The surrogate of a study of Bayesian networks in Bayesian optimisation."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Gaussian
from ..nets import MLP
from ..priors import Normal


def li_surrogate(inputs: int = 2) -> BNN:
    """inputs-128-128-128-1 tanh network, weights N(0, 10), noise variance 0.1 (variances). Li, Rudner & Wilson 2023.

    The paper samples it by HMC, 500 + 500 draws in float64. x ``[n, inputs]``, two for the Branin function.
    """
    return BNN(MLP(inputs, 1, hidden=(128, 128, 128), activation=nn.Tanh), Normal(10.0**0.5), Gaussian(0.1**0.5))


CARDS = {
    "li_surrogate": Card(
        formula="""
w ~ N(0, 10)                            each weight and bias (a variance)
y ~ N(net(x; w), 0.1)                   net: d-128-128-128-1, tanh (a variance)
""",
        fit="bz.HMC(chains=2, warmup=10, draws=10, max_leapfrogs=3)",
        paper="The authors' HMC: 500 + 500 draws, leapfrogs of 0.02, paths of 0.008, float64: "
        "`bz.HMC(warmup=500, draws=500)` tunes its own step.",
        facts=(
            (
                "three layers of 128, tanh, prior variance 10, noise variance 0.1, HMC settings",
                "yucenli/bnn-bo c349b4b, config/",
            ),
            ("33,537 weights for two inputs", "counted"),
        ),
        traps=(
            "Weights N(0, 10) on 128 units give functions of a size in the hundreds: standardise y and look at the prior.",
        ),
        unchecked="Figures of the paper are pictures; no number is quoted.",
        citation="Y. L. Li, T. G. J. Rudner, A. G. Wilson. A study of Bayesian neural network surrogates for Bayesian "
        "optimization. arXiv:2305.20028, 2023.",
    )
}
