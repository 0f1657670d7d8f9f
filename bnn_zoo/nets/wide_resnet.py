"""Wide residual networks."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Norm, Residual, check_norm
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm


class WideResNet(Stack):
    """WRN-depth-widen for 32×32 images: three stages of 16, 32 and 64 times ``widen`` channels.

    ``[n, channels, h, w] → [n, classes]``. Zagoruyko & Komodakis 2016: normalisation and activation before each convolution,
    which has no bias. WRN-28-10 has 36,479,194 weights for three channels and ten classes with a normalisation of two
    weights a channel, as their BatchNorm and ``lambda channels: nn.GroupNorm(16, channels)``; ``FilterResponseNorm`` has
    three.
    """

    def __init__(
        self,
        depth: int = 28,
        widen: int = 10,
        classes: int = 10,
        channels: int = 3,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("WideResNet", "classes", classes), whole("WideResNet", "channels", channels)
        depth, widen = whole("WideResNet", "depth", depth), whole("WideResNet", "widen", widen)
        norm, activation = check_norm("WideResNet", norm), activation_class("WideResNet", activation)
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"WideResNet: depth must be 6n + 4, such as 10, 16, 22 or 28, got {depth}")

        def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Module:
            return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)

        layers: list[nn.Module] = [conv(channels, 16)]
        before = 16
        for stage in range(3):
            after = 16 * widen * 2**stage
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                first, second = (norm(before), activation()), (norm(after), activation(), conv(after, after))
                if before == after:
                    layers.append(Residual(nn.Sequential(*first, conv(before, after), *second)))
                else:  # the shortcut of a change of width starts after the first normalisation, as in their code
                    branch = nn.Sequential(conv(before, after, 3, stride), *second)
                    layers += [*first, Residual(branch, conv(before, after, 1, stride))]
                before = after
        super().__init__(*layers, norm(before), activation(), MeanOverPlaces(), nn.Linear(before, classes))
