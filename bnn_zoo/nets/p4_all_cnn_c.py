"""All-CNN-C on rotations."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Norm, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm
from .p4_conv import P4ConvP4, P4ConvZ2


class P4AllCNNC(Stack):
    """``AllCNNC`` with convolutions on p4 and half the channels, which keeps the number of weights: 1,369,738.

    ``[n, channels, h, w] → [n, classes]``, the same for an image and its turns by 90 degrees, for h and w divisible by 4.
    Cohen & Welling 2016, section 8.2. Where theirs has a stride of 2, which takes pixels that are not symmetric around the
    middle and so turns with the image only nearly, this has a mean of 2×2 before the convolution, which turns exactly.
    ``norm`` stands for their BatchNorm; its weights come on top.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        width: int = 48,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("P4AllCNNC", "classes", classes), whole("P4AllCNNC", "channels", channels)
        width, norm = whole("P4AllCNNC", "width", width), check_norm("P4AllCNNC", norm)
        activation = activation_class("P4AllCNNC", activation)
        layers: list[nn.Module] = [P4ConvZ2(channels, width), norm(width), activation()]
        sizes = [*((width, 3),) * 2, *((2 * width, 3),) * 4, (2 * width, 1), (classes, 1)]
        before = width
        for i, (after, kernel) in enumerate(sizes):
            layers += [nn.AvgPool3d((1, 2, 2))] * (i in (1, 4))
            layers += [P4ConvP4(before, after, kernel), norm(after), activation()]
            before = after
        super().__init__(*layers, MeanOverPlaces())
