"""The digits network of preconditioned stochastic-gradient Langevin dynamics."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import Normal


def li_mnist(width: int = 400) -> BNN:
    """784-width-width-10 ReLU network, weights N(0, 1), for MNIST. Li, Chen, Carlson & Carin 2016, section 5.

    x ``[n, 784]``. The authors' program adds its noise over N, so it samples at temperature 1/N, not 1: for their figures
    take ``PSGLD(temperature=1 / 60_000)``.
    """
    return BNN(MLP(784, 10, hidden=(width, width), activation=nn.ReLU), Normal(1.0), Categorical())


CARDS = {
    "li_mnist": Card(
        formula="""
w ~ N(0, 1)                             each weight and bias
y ~ Categorical(softmax(net(x; w)))     net: 784-400-400-10, ReLU
""",
        fit="bz.PSGLD(chains=2, steps=40, warmup=20, batch_size=10)",
        paper="The authors' run: 100 epochs of batches of 100, step size 5e-4 halved every 20, α .99, λ 1e-5, at "
        "temperature 1/N: `bz.PSGLD(temperature=1 / 60_000)`.",
        facts=(
            (
                "784-400-400-10 ReLU, weight decay 1/N, the settings of the run",
                "ChunyuanLI/pSGLD, pSGLD_DNN/test_FNN_mnist.m",
            ),
            ("noise √(2 lr G) / N: temperature 1/N", "ChunyuanLI/pSGLD, pSGLD_DNN/algorithms/SGLD_RMSprop.m"),
        ),
        traps=(
            "The program divides its noise by N, so it samples the posterior to the power N: hardly more than an optimum. "
            "At temperature 1, which is the default here, results are those of another law than the paper's.",
        ),
        unchecked="The paper's table of errors was not read by us, so no figure is quoted.",
        citation="C. Li, C. Chen, D. Carlson, L. Carin. Preconditioned stochastic gradient Langevin dynamics for deep "
        "neural networks. AAAI 2016.",
    )
}
