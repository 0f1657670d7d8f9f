"""Normalisation of each channel of each image for itself: what BatchNorm does without the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._sizes import whole


class FilterResponseNorm(nn.Module):
    """``max(γ x / √(ν² + ε) + β, τ)`` with ν² the mean of x² over the places of a channel. Singh & Krishnan 2020.

    ``[n, channels, *places] → [n, channels, *places]``; weights γ ``weight``, β ``bias`` and τ ``threshold``, one a channel.
    A row's output depends on that row alone, so the layer has a likelihood of a row, which BatchNorm has not.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        channels = whole("FilterResponseNorm", "channels", channels)
        if not eps > 0:
            raise ValueError(f"FilterResponseNorm: eps must be > 0, got {eps}")
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.threshold = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        places = tuple(range(2, x.dim()))
        if not places or x.shape[1] != len(self.weight):
            raise ValueError(
                f"FilterResponseNorm expects [rows, {len(self.weight)}, places …], got {tuple(x.shape)}: for rows without "
                "places take nn.LayerNorm"
            )
        gain, bias, low = (w.view(-1, *(1 for _ in places)) for w in (self.weight, self.bias, self.threshold))
        # one product, and a ReLU for the maximum: those are two to three times as fast, forwards and backwards
        scaled = x * (gain * (x.square().mean(places, keepdim=True) + self.eps).rsqrt())
        return torch.relu(scaled + (bias - low)) + low
