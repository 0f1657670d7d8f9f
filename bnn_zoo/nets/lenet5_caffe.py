"""LeNet-5 as the Caffe library has it: wider, and without an activation after its convolutions."""

from __future__ import annotations

from torch import nn

from ._sizes import activation_class, whole
from ._stack import Stack


class LeNet5Caffe(Stack):
    """Convolutions of 20 and 50 channels with pooling, then 800-500-classes: 431,080 weights for ten. Jia et al. 2014.

    ``[n, channels, 28, 28] → [n, classes]``. MC dropout (Gal & Ghahramani 2016) and Bayesian compression (Louizos et al.
    2017) are measured on it. Only the hidden layer of 500 has an activation.
    """

    def __init__(self, classes: int = 10, channels: int = 1, activation: type[nn.Module] = nn.ReLU) -> None:
        classes, channels = whole("LeNet5Caffe", "classes", classes), whole("LeNet5Caffe", "channels", channels)
        activation = activation_class("LeNet5Caffe", activation)
        super().__init__(
            nn.Conv2d(channels, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            activation(),
            nn.Linear(500, classes),
        )
