"""The surrogate of a study of Bayesian networks in Bayesian optimisation."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Gaussian
from ..nets import MLP
from ..priors import Normal


def li_surrogate(inputs: int = 2) -> BNN:
    """inputs-128-128-128-1 tanh network, weights N(0, 10), noise of standard deviation 0.1. Li, Rudner & Wilson 2023.

    10 is a variance. The paper samples it by HMC, 500 + 500 draws in float64. x ``[n, inputs]`` in the unit cube, two for
    the Branin function; y standardised.
    """
    return BNN(MLP(inputs, 1, hidden=(128, 128, 128), activation=nn.Tanh), Normal(10.0**0.5), Gaussian(0.1))


CARDS = {
    "li_surrogate": Card(
        formula="""
w ~ N(0, 10)                            each weight and bias (a variance)
y ~ N(net(x; w), 0.1²)                  net: d-128-128-128-1, tanh
""",
        fit="bz.HMC(chains=2, warmup=10, draws=10, max_leapfrogs=3)",
        paper="The authors' HMC: one chain from 1,000 steps of Adam, 500 + 500 draws, a step that is tuned from 0.02, "
        "float64: `bz.HMC(warmup=500, draws=500, init=bz.density.Adam(1_000))`.",
        facts=(
            (
                "three layers of 128, tanh, prior variance 10, HMC settings, for the Branin function",
                "yucenli/bnn-bo, config/branin.json",
            ),
            (
                "0.1 is the noise's standard deviation",
                "yucenli/bnn-bo, models/hmc.py and models/utils.py, make_gaussian_log_likelihood_fixed_noise",
            ),
            ("33,537 weights for two inputs", "counted"),
        ),
        traps=(
            "The configuration calls 0.1 `noise_var`, and the program takes it for the standard deviation: its noise has "
            "the variance 0.01.",
            "Weights N(0, 10) on 128 units give functions of a size up to 36: standardise y and look at the prior.",
            "Other functions have other networks and priors: the variance is 1 for Hartmann and 0.1 for Ackley.",
        ),
        unchecked="Figures of the paper are pictures; no number is quoted.",
        citation="Y. L. Li, T. G. J. Rudner, A. G. Wilson. A study of Bayesian neural network surrogates for Bayesian "
        "optimization. arXiv:2305.20028, 2023.",
    )
}
