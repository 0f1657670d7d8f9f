"""A small residual network without normalisation."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Residual
from ._sizes import activation_class, whole
from ._stack import Stack


class ResNet8(Stack):
    """One convolution, three residual pairs with 2×2 means between them, one linear layer; all of 32 channels.

    ``[n, channels, h, w] → [n, classes]``, for images of 32×32. Ober & Aitchison 2021: 56,714 weights for three channels and
    ten classes, no normalisation; the activation stands after each convolution, inside the residual branch.
    """

    def __init__(self, classes: int = 10, channels: int = 3, width: int = 32, activation: type[nn.Module] = nn.ReLU) -> None:
        classes, channels = whole("ResNet8", "classes", classes), whole("ResNet8", "channels", channels)
        width = whole("ResNet8", "width", width)
        activation = activation_class("ResNet8", activation)

        def layer(before: int) -> tuple[nn.Module, nn.Module]:
            return nn.Conv2d(before, width, 3, padding=1), activation()

        def block() -> nn.Module:
            return Residual(nn.Sequential(*layer(width), *layer(width)))

        super().__init__(
            *layer(channels),
            block(),
            nn.AvgPool2d(2),
            block(),
            nn.AvgPool2d(2),
            block(),
            MeanOverPlaces(),
            nn.Linear(width, classes),
        )
