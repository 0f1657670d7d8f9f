"""Local reparameterisation: the noise of a normal weight moved to the layer's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..laws import ScaledNormal
from ._layers import Layer, Layers


class LocalReparameterization(Layers):
    """For weights w ~ N(m, s²) draws a layer's output, ``x·m + √(x²·s²) ξ`` with an own ξ for each row and unit.

    It has the law of the output for each row, with rows independent, so the variance of the gradient falls with the batch;
    sums over rows have another covariance, which the ELBO does not see. Kingma, Salimans & Welling 2015, eq. 6. For
    convolutions outputs at different places are drawn independently too, as Molchanov et al. 2017 do. Weights that have a
    random scale z for each input or unit (``guides.ScaledNormal``) get another z for each row, and the rest given that:
    Louizos, Ullrich & Welling 2017, section 3.2.
    """

    def accepts(self, law: Any) -> bool:
        return isinstance(law, torch.distributions.Normal)

    def layer(self, layer: Layer, x: Tensor, law: Any, weight: Tensor, **settings: Any) -> Tensor:
        units: Tensor | float = 1.0
        if isinstance(law, ScaledNormal):
            z = law.scale_law.rsample(x.shape[:1]).abs()  # [row, out or 1, in or 1, …]
            law = law.standard
            if z.dim() > 2 and z.shape[2] > 1:
                x = x * _at(z.flatten(1), x, layer)
            else:
                units = z.flatten(1)
        mean = layer(x, law.loc, **settings)
        variance = layer(x.square(), law.scale.square(), **settings)
        units = _at(units, mean, layer) if isinstance(units, Tensor) else units
        return units * (mean + (variance + 1e-16).sqrt() * torch.randn_like(mean))


def _at(z: Tensor, x: Tensor, layer: Layer) -> Tensor:
    """``z [row, channels or 1]`` along the rows and channels of x."""
    between = [1] * (x.dim() - 2)
    return z.reshape(len(z), *between, -1) if layer is F.linear else z.reshape(len(z), -1, *between)
