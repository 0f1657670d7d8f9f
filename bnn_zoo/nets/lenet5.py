"""LeNet-5 (LeCun et al. 1998), as it is used in the Bayesian deep learning literature."""

from __future__ import annotations

from torch import nn

from ._sizes import activation_class, whole
from ._stack import Stack


class LeNet5(Stack):
    """Two 5×5 convolutions (6, 16 channels) with 2×2 pooling, then 120-84-classes.

    ``[n, channels, 28, 28] → [n, classes]``; 61,706 weights for one channel and ten classes. LeCun et al. 1998,
    section II, with padding 2 for 28×28 images,
    max pooling and a linear output instead of radial basis functions. ``activation`` is a module class.
    """

    def __init__(self, classes: int = 10, channels: int = 1, activation: type[nn.Module] = nn.ReLU) -> None:
        classes, channels = whole("LeNet5", "classes", classes), whole("LeNet5", "channels", channels)
        activation = activation_class("LeNet5", activation)
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=2),
            activation(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            activation(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            activation(),
            nn.Linear(120, 84),
            activation(),
            nn.Linear(84, classes),
        )
