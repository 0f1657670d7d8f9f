"""Flipout: one draw of the weights, decorrelated over rows by random signs. Wen et al. 2018."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._layers import Layer, Layers, per_channel


class Flipout(Layers):
    """For symmetric laws around m, such as the normal: ``x·m + ((x ∘ r)·(w − m)) ∘ t`` with signs r, t of each row and unit.

    Every row has the law of w, and rows are uncorrelated. Unlike local reparameterisation the output is that of one weight
    for each row, also in convolutions. Wen, Vicol, Ba, Tran & Grosse 2018, eq. 4.
    """

    def accepts(self, law: Any) -> bool:
        return isinstance(law, torch.distributions.Normal | torch.distributions.Laplace | torch.distributions.StudentT)

    def layer(self, layer: Layer, x: Tensor, law: Any, weight: Tensor, **settings: Any) -> Tensor:
        mean = layer(x, law.loc, **settings)
        flipped = layer(x * _signs(x, per_channel(x, layer)), weight - law.loc, **settings)
        return mean + flipped * _signs(mean, per_channel(mean, layer))


def _signs(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.where(torch.rand(shape, dtype=like.dtype, device=like.device) < 0.5, -1.0, 1.0).to(like.dtype)
