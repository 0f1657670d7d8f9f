"""A weight whose inputs are switched off at random: the variational family of dropout."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints, register_kl


class Dropped(TorchDistribution):
    """``W = M diag(z) / (1 − rate)`` with z_j ~ Bernoulli(1 − rate) for each input j (dimension 1 of M ``[out, in, …]``).

    Gal & Ghahramani 2016, eq. 2 and appendix 3, with narrow normals about M and 0 taken to their limit: entropy is a
    constant, set to 0, and so is ``log_prob``. The 1/(1 − rate) of torch's dropout is part of W, so the mean of W is M.
    """

    arg_constraints = {"loc": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, rate: float) -> None:
        if loc.dim() < 2:
            raise ValueError(f"Dropped needs a weight [out, in, …], got shape {tuple(loc.shape)}")
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"Dropped: rate must be at least 0 and below 1, got {rate}")
        self.loc, self.rate = loc, rate
        super().__init__(loc.shape, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        inputs = (*sample_shape, 1, self.loc.shape[1], *[1] * (self.loc.dim() - 2))
        keep = torch.rand(inputs, dtype=self.loc.dtype, device=self.loc.device) >= self.rate
        return self.loc * keep / (1.0 - self.rate)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)

    def entropy(self) -> Tensor:
        return torch.zeros_like(self.loc)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.loc.square() * (self.rate / (1.0 - self.rate))


@register_kl(Dropped, Normal)
def _(q: Dropped, p: Normal) -> Tensor:
    """``−E_q[log p]``, entropy being constant: for ``N(0, s²)`` the L2 term ``M² / (2 (1 − rate) s²)``."""
    return -(1.0 - q.rate) * p.log_prob(q.loc / (1.0 - q.rate)) - q.rate * p.log_prob(torch.zeros_like(q.loc))
