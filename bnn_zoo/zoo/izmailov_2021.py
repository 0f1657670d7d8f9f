"""The networks on which full-batch Hamiltonian Monte Carlo was run: images and text."""

from __future__ import annotations

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..nets import CNNLSTM, ResNetFRN
from ..priors import Normal


def izmailov_resnet(depth: int = 20, width: int = 16) -> BNN:
    """ResNet-20 with filter response normalisation and swish, weights N(0, 1/5), for CIFAR-10. Izmailov et al. 2021.

    x ``[n, 3, 32, 32]``, y ``[n]`` of 0 … 9. The variance is of every parameter, those of the normalisation among them.
    """
    return BNN(ResNetFRN(depth, width=width), Normal(0.2**0.5), Categorical())


def izmailov_imdb(width: int = 128, vocabulary: int = 20_000, embedding: int = 128, channels: int = 64) -> BNN:
    """CNN-LSTM of 128 cells, weights N(0, 1/40), for the reviews of IMDB. Izmailov et al. 2021.

    x ``[n, words]``, numbers of words below ``vocabulary``; y ``[n]`` of 0 and 1.
    """
    net = CNNLSTM(width=width, vocabulary=vocabulary, embedding=embedding, channels=channels)
    return BNN(net, Normal(40.0**-0.5), Categorical())


CITATION = (
    "P. Izmailov, S. Vikram, M. D. Hoffman, A. G. Wilson. What are Bayesian neural network posteriors really like? ICML "
    "2021."
)
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
            ("network and its 274,042 parameters", "google-research, bnn_hmc/utils/models.py"),
            ("prior variance 1/5 of SGLD, SGHMC and VI, 512 devices for HMC", "google-research, bnn_hmc/README.md"),
            ("one normal law for every parameter", "google-research, bnn_hmc/utils/losses.py"),
            ("HMC step 1e-5, SGLD step 1e-6 over 10,000 epochs", "the paper"),
        ),
        figures=(
            Figure("CIFAR-10 test error of MAP, 10 epochs of Adam on 20,000 images, in %", "", "40.6"),
            Figure("its NLL in nats and ECE", "", "1.136, 0.018"),
        ),
        command="python tests/benchmarks/cifar.py --out FOLDER --epochs 10 --nets ResNet20FRN",
        why="It is a network stopped early, to show that it trains: the paper samples for thousands of epochs.",
        cost="43 minutes of CPU time on a shared core.",
        traps=(
            "The PyTorch port of the starter kit is not this network: its paddings are hard-wired, strided blocks do not "
            "downsample, it has 281,082 parameters, and its first layer has no activation.",
            "No data augmentation and temperature 1: with either, results are of another law.",
            "The program's commands for CIFAR-10 train on 40,960 of the 50,000 images; its SGD has the variance 1/10.",
        ),
        unchecked="No command for HMC on CIFAR-10 is published. The predictions that the authors published beside the "
        "paper are not in this project, so agreement with them was not measured.",
        citation=CITATION,
    ),
    "izmailov_imdb": Card(
        formula="""
w ~ N(0, 1/40)                          every parameter, the words' vectors among them (a variance)
y ~ Categorical(softmax(net(x; w)))     net: words to 128 numbers, convolution of 5, pooling of 4, LSTM of 128
""",
        fit="bz.MAP(steps=3)",
        paper="Full-batch HMC, steps of 1e-5, trajectories of 0.24, on 8 accelerators. Here "
        "`bz.SGHMC(batch_size=100)` or `bz.DeepEnsemble`.",
        facts=(
            ("network", "google-research, bnn_hmc/utils/models.py"),
            ("prior variance 1/40 of HMC, step, trajectory, 8 devices", "google-research, bnn_hmc/README.md"),
            ("2,700,098 weights", "counted"),
        ),
        traps=(
            "It is not the CNN-LSTM of Wenzel et al. 2020, which has 70 cells and 2,638,966 weights.",
            "One bias a gate, as the original: torch's own LSTM has two.",
            "The variance 1/40 is that of HMC: the program's variational inference has 1/5 here, and its SGD 1/3.",
        ),
        unchecked="The data are not in this project.",
        citation=CITATION,
    ),
}
