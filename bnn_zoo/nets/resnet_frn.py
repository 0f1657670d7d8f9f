"""Residual networks for small images with filter response normalisation, as the HMC reference posteriors use them."""

from __future__ import annotations

from torch import Tensor, nn

from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm


class Block(nn.Module):
    """Two normalised 3×3 convolutions beside a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_layer(before, after, 3, stride), activation(), *_layer(after, after, 3, 1))
        self.shortcut = nn.Sequential(*_layer(before, after, 1, stride)) if stride > 1 else nn.Identity()
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.shortcut(x) + self.convs(x))
        return out


def _layer(before: int, after: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2), FilterResponseNorm(after)


class ResNetFRN(Stack):
    """ResNet of depth 6n + 2 for 32×32 images: three stages of n blocks of ``width``, 2·width, 4·width channels.

    ``[n, channels, 32, 32] → [n, classes]``. He et al. 2016, section 4.2, with ``FilterResponseNorm`` in place of BatchNorm,
    biases in the convolutions and a smooth activation, as Izmailov, Vikram, Hoffman & Wilson 2021 have it: depth 20 has
    274,042 weights for three channels and ten classes.
    """

    def __init__(
        self, depth: int = 20, classes: int = 10, channels: int = 3, width: int = 16, activation: type[nn.Module] = nn.SiLU
    ) -> None:
        depth, classes = whole("ResNetFRN", "depth", depth), whole("ResNetFRN", "classes", classes)
        channels, width = whole("ResNetFRN", "channels", channels), whole("ResNetFRN", "width", width)
        activation = activation_class("ResNetFRN", activation)
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"ResNetFRN: depth must be 6n + 2, such as 8, 20, 32 or 44, got {depth}")
        layers: list[nn.Module] = [*_layer(channels, width, 3, 1), activation()]
        before = width
        for stage in range(3):
            for i in range(blocks):
                after = width * 2**stage
                layers.append(Block(before, after, 2 if stage and not i else 1, activation))
                before = after
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
