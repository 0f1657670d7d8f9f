"""The residual network on which full-batch Hamiltonian Monte Carlo was run."""

from __future__ import annotations

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import ResNetFRN
from ..priors import Normal


def izmailov_resnet(depth: int = 20, width: int = 16) -> BNN:
    """ResNet-20 with filter response normalisation and swish, weights N(0, 1/5), for CIFAR-10. Izmailov et al. 2021.

    x ``[n, 3, 32, 32]``, y ``[n]`` of 0 … 9. The variance is of every parameter, those of the normalisation among them.
    """
    return BNN(ResNetFRN(depth, width=width), Normal(0.2**0.5), Categorical())


CARDS = {
    "izmailov_resnet": Card(
        formula="""
w ~ N(0, 1/5)                           every parameter (a variance)
y ~ Categorical(softmax(net(x; w)))     net: ResNet-20, swish, filter response normalisation
""",
        fit="bz.MAP(steps=3)",
        paper="Full-batch HMC with steps of 1e-5, on 512 accelerators; SGLD with steps of 1e-6 over 10,000 "
        "epochs beside it. Here `bz.SGHMC(batch_size=128)` or `bz.DeepEnsemble` are what a machine of two cores bears, "
        "and `bz.HMC(row_chunk=500)` for a few transitions.",
        facts=(
            ("network and its 274,042 parameters, prior variance 1/5", "google-research, bnn_hmc/utils/models.py"),
            ("HMC step 1e-5, SGLD step 1e-6 over 10,000 epochs", "the paper"),
        ),
        traps=(
            "The PyTorch port of the starter kit is not this network: its paddings are hard-wired, strided blocks do not "
            "downsample, it has 281,082 parameters, and its first layer has no activation.",
            "No data augmentation and temperature 1: with either, results are of another law.",
        ),
        unchecked="The number of accelerators is recalled. The predictions that the authors published beside the paper "
        "are not in this project, so agreement with them was not measured.",
        citation="P. Izmailov, S. Vikram, M. D. Hoffman, A. G. Wilson. What are Bayesian neural network posteriors really "
        "like? ICML 2021.",
    )
}
