"""The ordinary network that rotation-equivariant ones are measured against."""

from __future__ import annotations

from torch import nn

from ._layers import MaxOverPlaces, Norm, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm


class Z2CNN(Stack):
    """Six 3×3 convolutions without a border, pooling after the second, one 4×4: ``[n, channels, 28, 28] → [n, classes]``.

    Cohen & Welling 2016, section 8.1, for rotated MNIST: 21,510 weights in convolutions of 20 channels, and those of
    ``norm``, which stands for their BatchNorm. Larger images give a map of classes, of which the maximum is taken.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        width: int = 20,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("Z2CNN", "classes", classes), whole("Z2CNN", "channels", channels)
        width, norm = whole("Z2CNN", "width", width), check_norm("Z2CNN", norm)
        activation = activation_class("Z2CNN", activation)
        layers: list[nn.Module] = []
        for i in range(6):
            layers += [nn.Conv2d(width if i else channels, width, 3), norm(width), activation()]
            layers += [nn.MaxPool2d(2)] * (i == 1)
        super().__init__(*layers, nn.Conv2d(width, classes, 4), MaxOverPlaces())
