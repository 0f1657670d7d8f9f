"""LeNet-300-100, the fully connected network on which compression is measured."""

from __future__ import annotations

from torch import nn

from ._sizes import activation_class, whole
from ._stack import Stack


class LeNet300100(Stack):
    """784-300-100-classes, ``[n, 1, 28, 28]`` or ``[n, 784] → [n, classes]``; 266,610 weights for ten. LeCun et al. 1998."""

    def __init__(self, classes: int = 10, activation: type[nn.Module] = nn.ReLU) -> None:
        classes, activation = whole("LeNet300100", "classes", classes), activation_class("LeNet300100", activation)
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, 300),
            activation(),
            nn.Linear(300, 100),
            activation(),
            nn.Linear(100, classes),
        )
