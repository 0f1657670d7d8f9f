"""Local reparameterisation: the noise of a normal weight moved to the layer's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._layers import Layer, Layers


class LocalReparameterization(Layers):
    """For weights w ~ N(m, s²) draws a layer's output, ``x·m + √(x²·s²) ξ`` with an own ξ for each row and unit.

    It has the law of the output for each row, with rows independent, so the variance of the gradient falls with the batch;
    sums over rows have another covariance, which the ELBO does not see. Kingma, Salimans & Welling 2015, eq. 6. For
    convolutions outputs at different places are drawn independently too, as Molchanov et al. 2017 do.
    """

    def accepts(self, law: Any) -> bool:
        return isinstance(law, torch.distributions.Normal)

    def layer(self, layer: Layer, x: Tensor, law: Any, weight: Tensor, **settings: Any) -> Tensor:
        mean = layer(x, law.loc, **settings)
        variance = layer(x.square(), law.scale.square(), **settings)
        return mean + (variance + 1e-16).sqrt() * torch.randn_like(mean)
