"""Steps without weights that published networks have between their layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Times(nn.Module):
    """``c · x``: what a paper multiplies a layer's input or output by."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor:.4g}"


class WithSquare(nn.Module):
    """``[n, k] → [n, 2k]``: the inputs and their squares."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.square()], -1)
