"""The tabular network of microcanonical Langevin ensembles."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import HeteroscedasticGaussian
from ..nets import MLP
from ..priors import Normal


def sommer_regression(inputs: int = 5) -> BNN:
    """inputs-16-16-2 ReLU network that predicts mean and size of the noise, weights N(0, 1). Sommer et al. 2025.

    x ``[n, inputs]`` and y standardised; five inputs for airfoil, with 402 weights. The paper starts members from trained
    networks and samples each by MCLMC.
    """
    likelihood = HeteroscedasticGaussian(floor=1e-6, link="exp")
    return BNN(MLP(inputs, 2, hidden=(16, 16), activation=nn.ReLU), Normal(1.0), likelihood)


CARDS = {
    "sommer_regression": Card(
        formula="""
w ~ N(0, 1)                             each weight and bias
y ~ N(m(x; w), s(x; w)²)                (m, raw) = net(x; w): d-16-16-2, ReLU; s = 10⁻⁶ + exp(raw)
""",
        fit="bz.MCLMC(chains=2, warmup=20, draws=20, init=bz.density.Adam(20))",
        paper="The paper optimises an ensemble and starts a chain of microcanonical Langevin dynamics from each member: "
        "`bz.MCLMC(chains=10, init=bz.density.Adam())`.",
        facts=(
            (
                "16-16-2 ReLU, N(0, 1), 12 chains of 50,000 + 10,000 steps",
                "EmanuelSommer/MILE, experiments/replicate_uci/mclmc.yaml",
            ),
            ("s = exp(raw), cut at 10⁻⁶ and 10⁶", "EmanuelSommer/MILE, src/training/probabilistic.py"),
            ("402 weights for the 5 inputs of airfoil, 450 for concrete and energy, 418 for yacht", "counted"),
        ),
        figures=(
            Figure(
                "airfoil, test NLL in standardised units",
                "−0.913 (another network: 4 hidden layers of 16)",
                "−0.55; that other network −0.919",
            ),
            Figure("airfoil, RMSE in standardised units", "0.1215 (the same)", "0.179; that other network 0.121"),
            Figure(
                "airfoil, seconds",
                "240, on 10 cores",
                "142 on two cores for as many steps (NLL −0.868); 1,611 on a shared core for the figures above (that "
                "other network)",
            ),
        ),
        command="python tests/benchmarks/airfoil.py --out FOLDER --network deep --splits 0 --warmup 20000 --steps 120000 "
        "--thinning 200 --energy-variance 0.1",
        why="The published figures are those of the authors' package (sklearn-contrib-bde), ten members of 50,000 + 10,000 "
        "steps. Ours are of ten members with 15,000 steps (140,000 for the other network), on one split of five. With the "
        "published 60,000 steps the other network misses NLL by 0.05. More steps were what helped, and "
        "R-hat of f is still 2 to 3.",
        traps=(
            "The noise is exp(raw) in the paper's program and in early versions of the authors' package, and softplus(raw) "
            "+ 10⁻⁶ in later ones: two models under one name. Here 10⁻⁶ is added where theirs cuts.",
            "The package's benchmark has four hidden layers of 16 where the paper's tables have two: say which is compared.",
            "Chains of different members do not agree (R-hat of f is 2 to 4 in our runs of the larger network): it is an "
            "ensemble of local samplers, not a converged run.",
        ),
        citation="E. Sommer, J. Robnik, G. Nozadze, U. Seljak, D. Rügamer. Microcanonical Langevin ensembles: advancing the "
        "sampling of Bayesian neural networks. ICLR 2025.",
    )
}
