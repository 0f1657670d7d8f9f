"""The law of a standard deviation whose precision has a gamma law."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Gamma, constraints
from torch.distributions.utils import broadcast_all


class RootInverseGamma(TorchDistribution):
    """``s = τ^(−½)`` with ``τ ~ Gamma(concentration a, rate b)``: density ``2 bᵃ/Γ(a) · s^(−2a−1) exp(−b/s²)``."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> RootInverseGamma:
        shape = torch.Size(batch_shape)
        return RootInverseGamma(self.concentration.expand(shape), self.rate.expand(shape), validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return Gamma(self.concentration, self.rate, validate_args=False).rsample(torch.Size(sample_shape)).rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration, self.rate
        normaliser = math.log(2.0) + a * b.log() - torch.lgamma(a)
        return normaliser - (2.0 * a + 1.0) * value.log() - b / value.square()
