"""A network whose classes do not change when the image is turned by 90 degrees."""

from __future__ import annotations

from torch import nn

from ._layers import MaxOverPlaces, Norm, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm
from .p4_conv import P4ConvP4, P4ConvZ2


class P4CNN(Stack):
    """``Z2CNN`` with convolutions on p4 and the maximum over the four orientations at the end.

    ``[n, channels, 28, 28] → [n, classes]``, the same for an image and its turns by 90 degrees, whatever the weights. Cohen
    & Welling 2016, section 8.1, for rotated MNIST: 24,560 weights in convolutions of 10 channels, and those of ``norm``,
    which stands for their BatchNorm and must treat the four orientations alike (``[n, channels, 4, height, width]``).
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        width: int = 10,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("P4CNN", "classes", classes), whole("P4CNN", "channels", channels)
        width, norm = whole("P4CNN", "width", width), check_norm("P4CNN", norm)
        activation = activation_class("P4CNN", activation)
        layers: list[nn.Module] = [P4ConvZ2(channels, width, 3, padding=0), norm(width), activation()]
        for i in range(1, 6):
            layers += [P4ConvP4(width, width, 3, padding=0), norm(width), activation()]
            layers += [nn.MaxPool3d((1, 2, 2))] * (i == 1)
        super().__init__(*layers, P4ConvP4(width, classes, 4, padding=0), MaxOverPlaces())
