"""A small transformer encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ._layers import Residual
from ._sizes import activation_class, whole


class Attention(nn.Module):
    """Self-attention of several heads in plain arithmetic: ``[n, time, width] → [n, time, width]``. Vaswani et al. 2017."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.into(x).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return mixed


class Transformer(nn.Module):
    """``layers`` of attention and a network of two layers, each beside a shortcut, the mean over time, a linear layer.

    ``[n, time, inputs] → [n, outputs]``; with ``vocabulary`` x is ``[n, time]`` of integers below it. Vaswani et al. 2017,
    with LayerNorm before each part (Xiong et al. 2020), as ``torch.nn.TransformerEncoderLayer(norm_first=True)`` but in
    plain operations, for torch's fused attention has no rule for batches of weights. ``time`` is at most ``longest``: each
    place has a vector that is learnt.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 16,
        heads: int = 2,
        layers: int = 1,
        longest: int = 64,
        vocabulary: int | None = None,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "width": width, "heads": heads, "layers": layers, "longest": longest}
        inputs, outputs, width, heads, layers, longest = (whole("Transformer", n, v) for n, v in sizes.items())
        activation = activation_class("Transformer", activation)
        if width % heads:
            raise ValueError(f"Transformer: width must be a multiple of heads, got {width} and {heads}")
        self.embedding: nn.Module = nn.Linear(inputs, width)
        if vocabulary is not None:
            self.embedding = nn.Embedding(whole("Transformer", "vocabulary", vocabulary), width)
        self.places = nn.Parameter(0.02 * torch.randn(longest, width))
        blocks: list[nn.Module] = []
        for _ in range(layers):
            wide = (nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width))
            blocks.append(Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, heads))))
            blocks.append(Residual(nn.Sequential(nn.LayerNorm(width), *wide)))
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > len(self.places):
            raise ValueError(f"Transformer expects at most {len(self.places)} places (longest), got {tuple(x.shape)}")
        h = self.embedding(x) + self.places[: x.shape[1]]
        out: Tensor = self.head(self.blocks(h).mean(1))
        return out
