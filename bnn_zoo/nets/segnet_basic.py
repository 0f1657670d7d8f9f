"""SegNet-Basic: a class for each pixel."""

from __future__ import annotations

from torch import Tensor, nn

from ._layers import Norm, check_norm, unpooled
from ._sizes import activation_class, whole
from .filter_response_norm import FilterResponseNorm


class SegNetBasic(nn.Module):
    """Four encoders that pool and remember where, four decoders that put values back there, one class layer.

    ``[n, channels, h, w] → [n, classes, h, w]``, h and w at least 16: logits for ``Categorical`` with y ``[n, h, w]``.
    Badrinarayanan, Kendall & Cipolla 2017 and Kendall, Badrinarayanan & Cipolla 2015 (Bayesian SegNet): 7×7 convolutions of
    64 channels, activation in the encoders alone: 1,415,563 weights for three channels and eleven classes, and those of
    ``norm``, which stands for their BatchNorm. Their dropout of one half stands before ``encoders.3``, ``decoders.0``,
    ``decoders.1`` and ``decoders.2``.
    """

    def __init__(
        self,
        classes: int = 11,
        channels: int = 3,
        width: int = 64,
        kernel_size: int = 7,
        norm: Norm = FilterResponseNorm,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        classes, channels = whole("SegNetBasic", "classes", classes), whole("SegNetBasic", "channels", channels)
        width, kernel = whole("SegNetBasic", "width", width), whole("SegNetBasic", "kernel_size", kernel_size)
        norm, activation = check_norm("SegNetBasic", norm), activation_class("SegNetBasic", activation)
        if kernel % 2 == 0:
            raise ValueError(f"SegNetBasic: kernel_size must be odd, for the size of the map to stay, got {kernel}")

        def layer(before: int, *after: nn.Module) -> nn.Module:
            return nn.Sequential(nn.Conv2d(before, width, kernel, padding=kernel // 2), norm(width), *after)

        self.encoders = nn.ModuleList(layer(width if i else channels, activation()) for i in range(4))
        self.decoders = nn.ModuleList(layer(width) for _ in range(4))
        self.classes = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 16:
            raise ValueError(f"SegNetBasic expects images of at least 16×16, for it pools four times, got {tuple(x.shape)}")
        seen: list[tuple[Tensor, tuple[int, int]]] = []
        for encoder in self.encoders:
            x = encoder(x)
            size = (x.shape[-2], x.shape[-1])
            x, places = nn.functional.max_pool2d(x, 2, return_indices=True)
            seen.append((places, size))
        for decoder, (places, size) in zip(self.decoders, reversed(seen), strict=True):
            x = decoder(unpooled(x, places, size))
        out: Tensor = self.classes(x)
        return out
