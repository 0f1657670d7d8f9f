"""The networks of the cold posterior effect: images and text."""

from __future__ import annotations

from torch import nn

from ..bnn import BNN
from ..catalogue import Card
from ..likelihoods import Categorical
from ..nets import CNNLSTM, ResNetFRN
from ..priors import Normal


def wenzel_resnet(depth: int = 20, width: int = 16) -> BNN:
    """ResNet-20, ReLU, weights N(0, 1), for CIFAR-10, with FRN in place of BatchNorm. Wenzel et al. 2020.

    x ``[n, 3, 32, 32]``, y ``[n]`` of 0 … 9. With BatchNorm there is no likelihood of a row, so this is not the paper's
    network to the letter: see its card.
    """
    return BNN(ResNetFRN(depth, width=width, activation=nn.ReLU), Normal(1.0), Categorical())


def wenzel_imdb(width: int = 70, vocabulary: int = 20_000, embedding: int = 128, channels: int = 64) -> BNN:
    """CNN-LSTM of 70 cells, weights N(0, 1), for the reviews of IMDB. Wenzel et al. 2020.

    x ``[n, words]`` (100 words in the paper), numbers of words below ``vocabulary``; y ``[n]`` of 0 and 1.
    """
    net = CNNLSTM(width=width, vocabulary=vocabulary, embedding=embedding, channels=channels)
    return BNN(net, Normal(1.0), Categorical())


CITATION = (
    "F. Wenzel, K. Roth, B. S. Veeling, J. Świątkowski, L. Tran, S. Mandt, J. Snoek, T. Salimans, R. Jenatton, S. Nowozin. "
    "How good is the Bayes posterior in deep neural networks really? ICML 2020."
)
CARDS = {
    "wenzel_resnet": Card(
        formula="""
w ~ N(0, 1)                             every parameter
y ~ Categorical(softmax(net(x; w)))     net: ResNet-20, ReLU, filter response normalisation in place of BatchNorm
""",
        fit="bz.MAP(steps=3)",
        paper="SG-MCMC with momentum .98, learning rate .1, 1,500 epochs in cycles of 50, at temperatures from 1e-4 to 1. "
        "Here: `bz.SGHMC(friction=0.02, batch_size=128, step_size=bz.schedules.cyclical(…), temperature=T)`.",
        facts=(
            (
                "N(0, 1) on kernels and biases, flat on the affine part of BatchNorm",
                "google-research, cold_posterior_bnn/core/priorfactory.py",
            ),
            ("the sampler's settings and temperatures", "google-research, cold_posterior_bnn, run_*.sh"),
            ("274,042 weights with FRN", "counted; the original with BatchNorm has another number"),
        ),
        traps=(
            "The paper's network has BatchNorm, whose output of an image depends on the other images of its batch. It is "
            "replaced by filter response normalisation, with N(0, 1) on its parameters where the paper's are flat.",
            "The paper augments its data. Augmented rows are not the rows of the likelihood, and much of the cold "
            "posterior effect goes with them (Izmailov et al. 2021).",
            "The committed results_resnet/run_sweeps.csv, accuracy .56 to .59, is a smoke run.",
        ),
        unchecked="The paper's accuracies by temperature are figures; no number is quoted. The text network (CNN-LSTM) is "
        "another model.",
        citation=CITATION,
    ),
    "wenzel_imdb": Card(
        formula="""
w ~ N(0, 1)                             every parameter, the words' vectors among them
y ~ Categorical(softmax(net(x; w)))     net: words to 128 numbers, convolution of 5, pooling of 4, LSTM of 70
""",
        fit="bz.MAP(steps=3)",
        paper="SG-MCMC with momentum .98, learning rate .1, 500 epochs in cycles of 25, at temperatures from 1e-4 to 1. "
        "Here: `bz.SGHMC(friction=0.02, step_size=bz.schedules.cyclical(…), temperature=T)`.",
        facts=(
            ("70 cells, 100 words", "google-research, cold_posterior_bnn/imdb/imdb_model.py"),
            (
                "N(0, 1) on kernels, biases and words' vectors",
                "google-research, cold_posterior_bnn/core/priorfactory.py",
            ),
            ("2,638,966 weights", "counted"),
        ),
        traps=(
            "It was made of an example of Keras that has dropout; the authors' has none.",
            "It is not the CNN-LSTM of Izmailov et al. 2021, which has 128 cells and 2,700,098 weights.",
        ),
        unchecked="The data are not in this project.",
        citation=CITATION,
    ),
}
