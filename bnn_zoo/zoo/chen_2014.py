"""The digits network of stochastic-gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import MLP
from ..priors import GammaPrecision, Normal


def chen_mnist(width: int = 100) -> BNN:
    """784-width-10 sigmoid network, weights N(0, 1/λ), λ ~ Gamma(1, 1) for each matrix and each bias. Chen et al. 2014.

    x ``[n, 784]``, pixels (0 … 255) over 256. The paper draws each λ by Gibbs after every sweep; here it is a site of the
    model, ``"0.weight_scale"`` being λ^(−1/2), and is sampled with the weights.
    """
    return BNN(MLP(784, 10, hidden=(width,), activation=nn.Sigmoid), Normal(GammaPrecision(1.0, alpha=2.0)), Categorical())


CARDS = {
    "chen_mnist": Card(
        formula="""
λ_g ~ Gamma(1, rate 1)                  for each weight matrix and each bias vector g: four of them
w in g ~ N(0, 1/λ_g)
y ~ Categorical(softmax(net(x; w)))     net: 784-100-10, sigmoid
""",
        fit="bz.SGHMC(chains=2, steps=40, warmup=20, batch_size=10)",
        paper="The authors' run: 50,000 rows to train and 10,000 to validate, batches of 500, 800 sweeps of which 50 are "
        "burn-in, learning rate .1 of the mean loss, momentum decay .01, λ drawn by Gibbs after each sweep. Here: "
        "`bz.SGHMC(batch_size=500, friction=0.01)`.",
        facts=(
            ("784-100-10, λ by group, the settings of the run", "tqchen/ML-SGHMC, bayesnn/demo/mnist-sghmc.py"),
            ("sigmoid units and Gamma(1, 1)", "tqchen/ML-SGHMC, bayesnn/nnet.py, the defaults of NNParam"),
            ("pixels over 256", "tqchen/ML-SGHMC, bayesnn/mnist.py"),
            ("79,510 weights", "counted"),
        ),
        traps=(
            "The gain over SGD with momentum was withdrawn by the author: over random seeds it is not significant "
            "(bayesnn/README.md). Take this as a model, and not as a bar to pass.",
            "Each bias vector has a λ of its own: the program groups by array and not by layer.",
            "The scales live at λ^(−1/2), so a density by hand has the Jacobian 2 s⁻³ of λ = s⁻².",
        ),
        unchecked="The error rates of the paper's figure were not read by us, so none is quoted.",
        citation="T. Chen, E. B. Fox, C. Guestrin. Stochastic gradient Hamiltonian Monte Carlo. ICML 2014.",
    )
}
