"""Many independent numbers, each from the same mixture of normals."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class NormalMixture(TorchDistribution):
    """``Σ_j share_j N(loc_j, scale_j²)`` for each number of an event of shape ``size``; the parameters are ``[components]``.

    As ``MixtureSameFamily``, whose parameters and sums over components would lie along the last axis of an array of all
    numbers: components first, a gradient for LeNet-300-100's 266,610 weights and 17 components takes a fraction of that.
    """

    arg_constraints = {"share": constraints.simplex, "loc": constraints.real_vector, "scale": constraints.positive}

    def __init__(self, share: Tensor, loc: Tensor, scale: Tensor, size: Any = ()) -> None:
        self.share, self.loc, self.scale, self.size = share, loc, scale, torch.Size(size)
        super().__init__(torch.Size(), self.size, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return (self.share * self.loc).sum().expand(self.size)

    @property
    def variance(self) -> Tensor:
        second = (self.share * (self.loc.square() + self.scale.square())).sum()
        return second.expand(self.size) - self.mean.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.size
        with torch.no_grad():
            which = torch.multinomial(self.share, max(shape.numel(), 1), replacement=True)[: shape.numel()].reshape(shape)
            noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            return self.loc[which] + self.scale[which] * noise

    def log_prob(self, value: Tensor) -> Tensor:
        first = [-1, *[1] * value.dim()]
        share = self.share.clamp(min=torch.finfo(self.share.dtype).tiny)
        height = share.log() - self.scale.log() - 0.5 * math.log(2.0 * math.pi)
        z = (value - self.loc.reshape(first)) / self.scale.reshape(first)
        each = _log_sum_exp(height.reshape(first) - 0.5 * z.square())
        return each.sum(tuple(range(-len(self.size), 0))) if self.size else each


def _log_sum_exp(terms: Tensor) -> Tensor:
    """``log Σ_j exp terms_j`` over the first axis; no term counts as less than ε⁴ of the largest.

    The narrow components of a mixture are e^−1000 far from most weights, and where an exponential is a denormal number or
    less, a processor takes a hundred times as long for it: with ``torch.logsumexp`` that was nine tenths of a step.
    """
    number = torch.finfo(terms.dtype)
    largest = terms.detach().amax(0).clamp(min=number.min)
    return largest + (terms - largest).clamp(min=4.0 * math.log(number.eps)).exp().sum(0).log()
