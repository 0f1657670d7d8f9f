"""The digits network of the talk "Physics: a gateway to Bayesian deep learning" and its workshop paper."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..priors import Normal


def palacci_mnist(channels: tuple[int, int] = (32, 32), hidden: int = 128, scale: float = 1.0) -> BNN:
    """Two convolutions of 5 × 5, padded, each with ReLU and pooling, then 128 and 10 units. Palacci & Hess 2018.

    x ``[n, 1, 28, 28]``, pixels in [0, 1]. The authors have no prior: weights N(0, scale²) are ours, as ten classes that can
    be told apart have no posterior without one.
    """
    first, second = channels
    net = nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * 7 * 7, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )
    return BNN(net, Normal(scale), Categorical())


CARDS = {
    "palacci_mnist": Card(
        formula="""
w ~ N(0, 1)                             each weight and bias; ours, they have none
y ~ Categorical(softmax(net(x; w)))     net: conv 32, conv 32 (5 × 5), 128, 10; ReLU, pooling by 2
""",
        fit="bz.SGLD(chains=2, steps=20, warmup=10, batch_size=10, step_size=1e-5)",
        paper="Their program steps by lr times the gradient of the mean loss, with noise of variance lr, batches of 1,024. "
        "Here `bz.SGLD(batch_size=1024)` with prior and N/n times the batch's likelihood, at temperature 1.",
        facts=(
            ("layers, ReLU, pooling", "henripal/sgld, sgld/sgld/model.py"),
            ("pixels in [0, 1], batches of 1,024", "henripal/sgld, sgld/sgld/data.py"),
            ("mean loss, no prior, noise of variance lr", "henripal/sgld, sgld/sgld, trainer.py and sgld_optimizer.py"),
            ("228,586 weights", "counted"),
        ),
        figures=(
            Figure("mean confidence on notMNIST", ".015", "cannot be below .1; LeNet-5 by seven methods: `mnist_notmnist`"),
        ),
        command="python tests/benchmarks/mnist.py --out notebooks/mnist_runs",
        why="They averaged logarithms of probabilities, over a loader that shuffled the images, so that each term belonged "
        "to another image. Ours averages probabilities in a fixed order, at temperature 1, with LeNet-5.",
        traps=(
            "Langevin dynamics for the loss U/N with noise of variance lr has the temperature N/2: 30,000 on MNIST.",
            "Without a prior weights that tell the classes apart may grow without end: there is no posterior.",
        ),
        citation="H. Palacci, H. Hess. Scalable natural gradient Langevin dynamics in practice. ICML 2018 workshop, "
        "arXiv:1806.02855.",
    )
}
