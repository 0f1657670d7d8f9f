"""A network of convolutions alone."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Norm, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack


class AllCNNC(Stack):
    """Nine convolutions, two of them with stride 2 in place of pooling, and the mean over places: All-CNN-C.

    ``[n, channels, h, w] → [n, classes]``, for images of 32×32. Springenberg, Dosovitskiy, Brox & Riedmiller 2015: 1,369,738
    weights for three channels and ten classes. It has no normalisation; ``norm`` puts one after each convolution.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        width: int = 96,
        norm: Norm = nn.Identity,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("AllCNNC", "classes", classes), whole("AllCNNC", "channels", channels)
        width, norm = whole("AllCNNC", "width", width), check_norm("AllCNNC", norm)
        activation = activation_class("AllCNNC", activation)
        sizes = [  # outputs, kernel, stride
            *((width, 3, 1), (width, 3, 1), (width, 3, 2)),
            *((2 * width, 3, 1), (2 * width, 3, 1), (2 * width, 3, 2)),
            *((2 * width, 3, 1), (2 * width, 1, 1), (classes, 1, 1)),
        ]
        layers: list[nn.Module] = []
        before = channels
        for after, kernel, stride in sizes:
            layers += [nn.Conv2d(before, after, kernel, stride, kernel // 2), norm(after), activation()]
            before = after
        super().__init__(*layers, MeanOverPlaces())
