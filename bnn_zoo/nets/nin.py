"""Network in network."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces
from ._sizes import activation_class, whole
from ._stack import Stack


class NIN(Stack):
    """Three convolutions, each with a small fully connected network at every pixel after it, and the mean over places.

    ``[n, channels, h, w] → [n, classes]``, for images of 32×32. Lin, Chen & Yan 2014: 966,986 weights for three channels and
    ten classes. Their dropout of one half stands after the two poolings, before the layers ``"7"`` and ``"14"``: as MC
    dropout it is ``MCDropout(sites=("7.weight", "14.weight"))``.
    """

    def __init__(
        self, classes: int = 10, channels: int = 3, width: int = 192, activation: type[nn.Module] = nn.ReLU
    ) -> None:
        classes, channels = whole("NIN", "classes", classes), whole("NIN", "channels", channels)
        width = whole("NIN", "width", width)
        activation = activation_class("NIN", activation)
        small, half = max(1, width * 5 // 6), max(1, width // 2)

        def one(before: int, sizes: tuple[int, int, int], kernel: int) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for after, k in zip(sizes, (kernel, 1, 1), strict=True):
                layers += [nn.Conv2d(before, after, k, padding=k // 2), activation()]
                before = after
            return layers

        super().__init__(
            *one(channels, (width, small, half), 5),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *one(half, (width, width, width), 5),
            nn.AvgPool2d(3, 2, ceil_mode=True),
            *one(width, (width, width, classes), 3),
            MeanOverPlaces(),
        )
