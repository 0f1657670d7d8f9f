"""Layers that several architectures are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""What makes a normalisation of so many channels: ``FilterResponseNorm``, ``nn.Identity``, ``group_norm``."""


def check_norm(net: str, norm: Any) -> Norm:
    """Raise TypeError unless ``norm`` makes a module for a number of channels."""
    if isinstance(norm, nn.Module) or not callable(norm):
        raise TypeError(
            f"{net}: norm must make a module for a number of channels, such as nets.FilterResponseNorm, nn.Identity or "
            f"lambda channels: nn.GroupNorm(1, channels); got {norm!r}"
        )
    return norm


def conv(before: int, after: int, kernel: int, norm: Norm, activation: type[nn.Module]) -> list[nn.Module]:
    """Convolution that keeps the size, normalisation, activation."""
    return [nn.Conv2d(before, after, kernel, padding=kernel // 2), norm(after), activation()]


class MeanOverPlaces(nn.Module):
    """``[n, channels, *places] → [n, channels]``: global average pooling, over the group's elements too."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class MaxOverPlaces(nn.Module):
    """``[n, channels, *places] → [n, channels]``: the maximum over places, and over the group's elements too."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).amax(2)


class Residual(nn.Module):
    """``shortcut(x) + branch(x)``."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.branch(x)
        return out


def unpooled(x: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at the pixel that max pooling took it from, zeros elsewhere: ``[n, c, h, w] → [n, c, *size]``.

    As ``nn.functional.max_unpool2d``, which has no rule for batches of weights.
    """
    flat = torch.zeros((*x.shape[:2], size[0] * size[1]), dtype=x.dtype, device=x.device)
    return flat.scatter(2, places.flatten(2), x.flatten(2)).unflatten(2, size)
