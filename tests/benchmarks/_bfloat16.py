"""Convolutions and products in bfloat16, as processors multiply them that have units for it (AMX, recent GPUs)."""

from __future__ import annotations

import torch
from torch import Tensor


def in_bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


class Bfloat16(torch.nn.Module):
    """A network whose convolutions and products are in bfloat16, with weights and outputs in float32."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with in_bfloat16():
            return self.net(x.contiguous(memory_format=torch.channels_last)).float()
