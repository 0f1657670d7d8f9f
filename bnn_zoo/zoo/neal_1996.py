"""Neal's three example networks, as they come with his software for flexible Bayesian modelling. Neal 1996, chapter 4.

Each group of weights is normal around 0 with one precision, whose gamma prior he writes ``width:alpha``. A leading x in his
notation scales the width by the number of inputs of a unit, N: by N^(−1/2), or N^(−1/α₂) where a second α₂ < 2 follows.
"""

from __future__ import annotations

import torch
from torch import nn

from ..bnn import BNN
from ..catalogue import Card, Figure
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


CITATION = (
    "R. M. Neal. Bayesian learning for neural networks. Lecture Notes in Statistics 118, Springer, 1996. The examples are "
    "those of his software for flexible Bayesian modelling."
)
COMMAND = "python tests/benchmarks/neal.py"
BINARY = (
    "Neal's program draws precisions by Gibbs and weights by trajectories of 100 leapfrogs whose momentum is kept by "
    "0.95. Here one of `bz.MCLMC()`, `bz.HMC()` and `bz.NUTS()` samples all of it together."
)
CARDS = {
    "neal_regression": Card(
        formula="""
τ_ih, τ_bh, τ_noise ~ Gamma(¼, mean 400),  τ_ho ~ Gamma(¼, mean 3200)      the first number is the shape
w in group g ~ N(0, 1/τ_g),  output bias ~ N(0, 100²)
y ~ N(net(x; w), 1/τ_noise)                                               net: 1-8-1, tanh
""",
        fit="bz.MCLMC(chains=2, warmup=20, draws=20)",
        paper="Neal's program draws precisions by Gibbs and weights by Hamiltonian trajectories of 2,000 leapfrogs. Here "
        "one of `bz.MCLMC()`, `bz.HMC()` and `bz.NUTS()` samples all of it together, from the default start.",
        facts=(
            ("1-8-1 tanh, the priors as written, rows 1–100 to train and 101–1100 to test", "FBM, doc/Ex-netgp-r.doc"),
            (
                "0.05:0.5 is Gamma(shape ½ · 0.5, mean 1/0.05²), x0.05 multiplies the mean precision by 8",
                "FBM, doc/prior.doc",
            ),
        ),
        figures=(
            Figure("test log density", ".830 ± .022 (first mode alone .854 ± .019)", ".852, .852, .847 (MCLMC, HMC, NUTS)"),
            Figure("mean at 0", "1.38 (first mode alone 1.39)", "1.396, 1.395, 1.398"),
            Figure("share of the second mode", "not given", "0.93 ± 0.02 (neal_modes.py)"),
            Figure("both modes: test log density", ".830 ± .022", ".833 (neal_modes.py)"),
            Figure("both modes: squared error", ".0187 ± .0034", ".0183 (neal_modes.py)"),
            Figure("both modes: mean at −3, 0, 3", "−2.10, 1.38, 2.96", "−2.10, 1.385, 2.94 (neal_modes.py)"),
        ),
        command=COMMAND,
        why="The posterior has two modes. The second, with output weights of a scale above 4.5, holds nine tenths of it; it "
        "fits the training rows worse and has the mean 3.0 at 3 where the first has 2.3. Samplers that move weights and "
        "scales together do not get there from the default start: 64 free chains of MCLMC with 400,000 steps each had R-hat "
        "1.04 and the mean 2.09. tests/benchmarks/neal_modes.py samples it as Neal's program does, precisions by Gibbs and "
        "weights by trajectories of 2,000 leapfrogs; 64 chains from starts of both kinds agree. Within the range of the "
        "data both modes say the same.",
        cost="On two cores, default settings: MCLMC 20 s, HMC 84 s, NUTS 153 s. Neal's program takes 8.5 µs a leapfrog.",
        traps=(
            "R-hat 1.00 is no proof: it compares chains with each other. The default samplers all sit in the mode with a "
            "tenth of the mass: beyond the data their error bars are wrong.",
            "Draws of these vague priors are a hopeless place to start: four chains gave four answers. Keep the default "
            "start.",
            "Precisions are of groups: one for all input weights, one for all hidden biases, one for all output weights.",
        ),
        citation=CITATION,
    ),
    "neal_binary": Card(
        formula="""
τ_ih, τ_bh ~ Gamma(¼, mean 400),  τ_ho ~ Gamma(¼, mean 6000)              the first number is the shape
w in group g ~ N(0, 1/τ_g),  output bias ~ N(0, 100²)
y ~ Bernoulli(1 / (1 + exp(−net(x; w))))                                  net: 2-15-1, tanh
""",
        fit="bz.MCLMC(chains=2, warmup=20, draws=20)",
        paper=BINARY,
        facts=(("2-15-1 tanh, the priors as written, rows 1–300 to train and 301–1300 to test", "FBM, doc/Ex-netgp-b.doc"),),
        figures=(
            Figure("test log probability", "−.237 ± .017", "−.241 (MCLMC)"),
            Figure("test error", ".104 ± .010", ".104"),
        ),
        command=COMMAND,
        why="They agree within the published standard errors, which are over test rows.",
        cost="MCLMC with default settings on two cores: 35 s. Neal's program takes 35 µs a leapfrog.",
        traps=("x0.05 multiplies the mean precision by the 15 hidden units.",),
        citation=CITATION,
    ),
    "neal_classes": Card(
        formula="""
τ ~ Gamma(¼, mean 400),  τᵢ ~ Gamma(½, mean τ) for each input i            the first number is the shape
τ_bh, τ_bo ~ Gamma(¼, mean 400),  τ_ho ~ Gamma(¼, mean 3200)
w from input i ~ N(0, 1/τᵢ),  w in another group g ~ N(0, 1/τ_g)
y ~ Categorical(softmax(net(x; w)))                                       net: 4-8-3, tanh
""",
        fit="bz.MCLMC(chains=2, warmup=20, draws=20)",
        paper=BINARY + " The scales of inputs are the site `0.weight_scale`, their common one `0.weight_scale_scale`.",
        facts=(("4-8-3 tanh, the priors as written, rows 1–400 to train and 401–1400 to test", "FBM, doc/Ex-netgp-c.doc"),),
        figures=(Figure("test error", ".198 ± .013", ".194 (MCLMC)"),),
        command=COMMAND,
        why="They agree within the published standard error, which is over test rows.",
        cost="MCLMC with default settings on two cores: 37 s. Neal's program takes 52 µs a leapfrog.",
        traps=(
            "x0.2:0.5:1 has a second α of 1: the mean precision is multiplied by N^(2/α₂) = 4² and not by 4, so 25 "
            "becomes 400.",
            "Output biases are a group with a precision of its own here, and N(0, 100²) in the other two.",
        ),
        citation=CITATION,
    ),
}
