"""VGG for small images."""

from __future__ import annotations

from torch import nn

from ._layers import MeanOverPlaces, Norm, check_norm, conv
from ._sizes import activation_class, whole
from ._stack import Stack
from .filter_response_norm import FilterResponseNorm

LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth: convolutions in each of the five stages."""


class VGG(Stack):
    """Stages of 3×3 convolutions of 64, 128, 256, 512, 512 channels with pooling between them, and one linear layer.

    ``[n, channels, h, w] → [n, classes]``, for images of 32×32. Simonyan & Zisserman 2015, with the one linear layer that is
    usual for CIFAR-10: depth 16 has 14,719,818 weights for three channels and ten classes, and those of ``norm``:
    ``FilterResponseNorm``, or ``nn.Identity`` for none, or GroupNorm as ``lambda channels: nn.GroupNorm(32, channels)``.
    """

    def __init__(
        self,
        depth: int = 16,
        classes: int = 10,
        channels: int = 3,
        width: int = 64,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        classes, channels = whole("VGG", "classes", classes), whole("VGG", "channels", channels)
        width, norm = whole("VGG", "width", width), check_norm("VGG", norm)
        activation = activation_class("VGG", activation)
        if depth not in LAYERS:
            raise ValueError(f"VGG: depth must be one of {', '.join(map(str, LAYERS))}, got {depth!r}")
        layers: list[nn.Module] = []
        before = channels
        for stage, count in enumerate(LAYERS[depth]):
            layers += [nn.MaxPool2d(2)] * (stage > 0)
            for _ in range(count):
                after = width * 2 ** min(stage, 3)
                layers += conv(before, after, 3, norm, activation)
                before = after
        super().__init__(*layers, MeanOverPlaces(), nn.Linear(before, classes))
