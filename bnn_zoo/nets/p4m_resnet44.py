"""A residual network on rotations and reflections."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Norm, Residual, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm
from .p4m_conv import P4MConvP4M, P4MConvZ2


class P4MResNet44(Stack):
    """Residual network of 6·blocks + 2 layers on p4m, 11, 23 and 45 channels: ``[n, channels, h, w] → [n, classes]``.

    Cohen & Welling 2016, section 8.2, table 2 (2.62 million weights), with normalisation and activation before each
    convolution (He et al. 2016). Two things differ from theirs, so that the classes are the same for an image, its turns by
    90 degrees and its mirror images (h and w divisible by 4): a mean of 2×2 stands before a convolution that had a stride of
    2, and the last layer has the mean over the eight orientations instead of all of them, 460 weights instead of 3,610.
    ``norm`` stands for BatchNorm; its weights come on top of the 2,617,494 in convolutions and the last layer.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        blocks: int = 7,
        widths: tuple[int, int, int] = (11, 23, 45),
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("P4MResNet44", "classes", classes), whole("P4MResNet44", "channels", channels)
        blocks, norm = whole("P4MResNet44", "blocks", blocks), check_norm("P4MResNet44", norm)
        widths = (*(whole("P4MResNet44", "widths", w) for w in widths),)  # type: ignore[assignment]
        activation = activation_class("P4MResNet44", activation)
        layers: list[nn.Module] = [P4MConvZ2(channels, widths[0])]
        before = widths[0]
        for stage, after in enumerate(widths):
            for i in range(blocks):
                down = stage > 0 and i == 0
                layers += [nn.AvgPool3d((1, 2, 2))] * down
                branch = nn.Sequential(
                    *(norm(before), activation(), P4MConvP4M(before, after)),
                    *(norm(after), activation(), P4MConvP4M(after, after)),
                )
                layers.append(Residual(branch, P4MConvP4M(before, after, 1) if before != after else None))
                before = after
        super().__init__(*layers, norm(before), activation(), MeanOverPlaces(), nn.Linear(before, classes))
