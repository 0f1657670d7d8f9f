"""The one-dimensional regression with gaps on which ensembles are compared with the posterior."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Gaussian
from ..nets import MLP
from ..priors import Normal
from ._layers import WithSquare


def wilson_izmailov_regression() -> BNN:
    """2-10-10-10-1 ReLU network of (x, x²), weights N(0, 0.001), noise variance 0.0005. Wilson & Izmailov 2020, section 3.

    x ``[n, 1]``; y is ten times that of the authors' file. Variances.
    """
    layers = MLP(2, 1, hidden=(10, 10, 10), activation=nn.ReLU)
    return BNN(nn.Sequential(WithSquare(), *layers), Normal(0.001**0.5), Gaussian(0.0005**0.5))


CARDS = {
    "wilson_izmailov_regression": Card(
        formula="""
w ~ N(0, 0.001)                         each weight and bias (a variance)
y ~ N(net((x, x²); w), 0.0005)          net: 2-10-10-10-1, ReLU (a variance)
""",
        fit="bz.HMC(chains=2, warmup=10, draws=10, max_leapfrogs=3)",
        paper="The authors' HMC: each chain starts from 3,000 steps of SGD, then makes 500 transitions of 1,000 leapfrogs "
        "of 2e-4, of which 63 to 72 % are accepted. Here: `bz.HMC(init=bz.density.Adam(3_000))`, or `bz.MCLMC`.",
        facts=(
            (
                "features (x, x²), three layers of 10, prior variance .001, noise variance .0005, y × 10, the HMC "
                "settings and its acceptance",
                "izmailovpavel/understandingbdl, experiments/deep_ensembles/1d regression_hmc.ipynb",
            ),
            (
                "the sampler takes 1/.001 for the precision of a normal prior on each parameter",
                "hamiltorch, as copies have it",
            ),
            ("261 weights", "counted"),
        ),
        traps=(
            "Weights of standard deviation 0.03 give functions next to zero: starts from the prior are hopeless, and the "
            "authors' chains begin at trained networks.",
            "The notebook announces ten chains and runs nine: its loop begins at 1.",
        ),
        unchecked="The paper's figures are pictures; no number is quoted.",
        citation="A. G. Wilson, P. Izmailov. Bayesian deep learning and a probabilistic perspective of generalization. "
        "NeurIPS 2020.",
    )
}
