"""The digits network of the linearised Laplace approximation."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import Normal


def immer_mnist(precision: float = 1.0, hidden: tuple[int, ...] = (1024, 512, 256, 128)) -> BNN:
    """784-1024-512-256-128-10 tanh network, weights N(0, 1/precision), for MNIST. Immer, Korzepa & Bauer 2021.

    x ``[n, 784]``. The paper chooses ``precision`` δ among 16 values from 0.01 to 1,000 and 0, on half of the test rows.
    """
    return BNN(MLP(784, 10, hidden=hidden, activation=nn.Tanh), Normal(precision**-0.5), Categorical())


CARDS = {
    "immer_mnist": Card(
        formula="""
w ~ N(0, 1/δ)                           each weight and bias; δ = 1 unless told
y ~ Categorical(softmax(net(x; w)))     net: 784-1024-512-256-128-10, tanh
""",
        fit="bz.DiagonalLaplace(chains=1, steps=20, draws=20)",
        paper="MAP for each δ, then a Laplace approximation of it (Kronecker factors, diagonal), whose draws go through "
        "the network linearised at the mode. Here `bz.DiagonalLaplace` draws weights and sends them through the network "
        "itself.",
        facts=(
            ("widths and tanh, δ 0 or among 16 values 10^−2 … 10^3", "AlexImmer/BNN-predictions, imgclassification.py"),
            ("Adam at 1e-3, 500 epochs, batches of 512, five seeds", "the same"),
            ("δ is chosen on half of the test rows", "AlexImmer/BNN-predictions, imginference.py"),
            ("1,494,154 weights", "counted"),
        ),
        traps=(
            "The paper's point is the linearised predictive: draws sent through the network itself are the one that it "
            "argues against.",
            "Its figures are of the other half of the test rows: they are not to be compared with those of all rows.",
        ),
        unchecked="Which δ was chosen for MNIST. Figures of the paper are not quoted.",
        citation="A. Immer, M. Korzepa, M. Bauer. Improving predictions of Bayesian neural nets via local linearization. "
        "AISTATS 2021.",
    )
}
