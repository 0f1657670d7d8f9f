"""U-Net: a class for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._layers import Norm, check_norm, conv
from ._sizes import activation_class, whole
from .filter_response_norm import FilterResponseNorm


class UNet(nn.Module):
    """Stages of two 3×3 convolutions, ``depth`` poolings down, and up again with the map of each stage beside.

    ``[n, channels, h, w] → [n, classes, h, w]``, any h and w of at least 2^depth: logits for ``Categorical`` with y
    ``[n, h, w]``. After Ronneberger, Fischer & Brox 2015; convolutions keep the size and maps are made larger by repeating
    pixels, so that no border is lost and any size fits. Stage i has ``width · 2^i`` channels.
    """

    def __init__(
        self,
        classes: int = 11,
        channels: int = 3,
        width: int = 16,
        depth: int = 3,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        classes, channels = whole("UNet", "classes", classes), whole("UNet", "channels", channels)
        width, depth = whole("UNet", "width", width), whole("UNet", "depth", depth)
        norm, activation = check_norm("UNet", norm), activation_class("UNet", activation)

        def stage(before: int, after: int) -> nn.Module:
            return nn.Sequential(*conv(before, after, 3, norm, activation), *conv(after, after, 3, norm, activation))

        widths = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList(stage(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(stage(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.classes = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        least = 2 ** len(self.up)
        if min(x.shape[-2:]) < least:
            raise ValueError(
                f"UNet of depth {len(self.up)} expects images of at least {least}×{least}, got {tuple(x.shape)}"
            )
        maps: list[Tensor] = []
        for i, stage in enumerate(self.down):
            x = stage(nn.functional.max_pool2d(x, 2) if i else x)
            maps.append(x)
        for stage, beside in zip(self.up, maps[-2::-1], strict=True):
            larger = nn.functional.interpolate(x, size=beside.shape[-2:], mode="nearest")
            x = stage(torch.cat([beside, larger], 1))
        out: Tensor = self.classes(x)
        return out
