"""Bayesian SegNet: a class for each pixel, by dropout."""

from __future__ import annotations

from typing import Any

from ..bnn import BNN
from ..catalogue import Card, Figure
from ..likelihoods import Categorical
from ..nets import SegNetBasic
from ..priors import Normal


def kendall_segnet(
    classes: int = 11,
    rows: int = 367,
    pixels: int = 360 * 480,
    class_weights: Any = None,
    width: int = 64,
    kernel_size: int = 7,
    weight_decay: float = 5e-4,
) -> BNN:
    """SegNet-Basic, weights N(0, 1/(rows · pixels · weight_decay)), for CamVid. Kendall, Badrinarayanan & Cipolla 2015.

    The prior whose L2 term is that of the solver's weight decay, for a loss that is a mean over the pixels of ``rows``
    images. x ``[n, 3, h, w]``, y ``[n, h, w]`` of 0 … classes − 1, with ``classes`` itself (11) for void pixels, which are
    left out. ``class_weights``: the paper weighs classes by the median of their frequencies over each frequency. Dropout
    belongs to the backend: ``MCDropout(sites=("encoders.3.*", "decoders.[012].*"))``.
    """
    net = SegNetBasic(classes, width=width, kernel_size=kernel_size)
    scale = (rows * pixels * weight_decay) ** -0.5
    return BNN(net, Normal(scale), Categorical(ignore=classes, class_weights=class_weights))


CARDS = {
    "kendall_segnet": Card(
        formula="""
w ~ N(0, 1/(N P · 5e-4))                every parameter; N = 367 images of P = 360 · 480 pixels
y_p ~ Categorical(softmax(net(x; w)_p)) each pixel p that is not void; net: SegNet-Basic
q: half of the input channels of four convolutions are off
""",
        fit='bz.MCDropout(steps=3, draws=4, batch_size=10, sites=("encoders.3.*", "decoders.[012].*"))',
        paper="SGD with learning rate .1 (1e-3 is that of the large SegNet), momentum .9, weight decay 5e-4, 10,000 batches "
        "of 4, loss weighted by median class frequency, dropout "
        'of one half. Here: `bz.MCDropout(rate=0.5, sites=("encoders.3.*", "decoders.[012].*"))`.',
        facts=(
            (
                "learning rate, momentum, weight decay, steps, dropout after two encoders and two decoders, weighted loss",
                "alexgkendall/SegNet-Tutorial, bayesian_segnet_basic_solver.prototxt and _train.prototxt",
            ),
            ("a mean over the pixels that are not void", "alexgkendall/caffe-segnet, softmax_loss_layer.cpp"),
            ("1,415,563 weights in convolutions, 1,417,099 with normalisation", "counted"),
        ),
        figures=(
            Figure(
                "CamVid 360 × 480 (ours: 120 × 90, width 24, filters of 5, Adam), class accuracy, global accuracy, mean "
                "IoU, in %",
                "62.9, 82.8, 46.4",
                "45.4, 74.4, 34.6",
            ),
            Figure("the same by MC dropout", "70.5, 81.6, 55.8", "37.1, 68.1, 26.8"),
            Figure("the same by an ensemble of two", "", "46.9, 76.3, 36.0"),
            Figure(
                "class accuracy and mean IoU of a reproduction of SegNet, without and with MC dropout",
                "70.3, 53.3; 76.8, 60.7",
            ),
        ),
        command="python tests/benchmarks/camvid.py --out FOLDER",
        why="Ours has 103,643 weights, a sixteenth of the pixels, 40 epochs and classes weighed by the root of the "
        "paper's weights. Perhaps half of 24 channels is too little to learn from.",
        cost="13 minutes of CPU time a fit.",
        traps=(
            "Void pixels (label 11) are no class: they are neither trained on nor scored.",
            "Class weights make a tempered likelihood: predictions lean to rare classes, and global accuracy falls as "
            "class accuracy rises.",
            "Their BatchNorm is replaced by filter response normalisation.",
            "A mask here is the same for all images of one draw and takes whole channels; the paper's takes single values, "
            "other ones for each image.",
            "The solver leaves the convolutions' biases without weight decay: they have the weights' prior here.",
        ),
        unchecked="The first two lines of figures are recalled.",
        citation="A. Kendall, V. Badrinarayanan, R. Cipolla. Bayesian SegNet: model uncertainty in deep convolutional "
        "encoder-decoder architectures for scene understanding. arXiv:1511.02680, 2015; BMVC 2017.",
    )
}
