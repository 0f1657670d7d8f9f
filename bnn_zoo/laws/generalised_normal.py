"""The law between uniform, normal and Laplace, and beyond: tails by a power."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Gamma, constraints
from torch.distributions.utils import broadcast_all


class GeneralisedNormal(TorchDistribution):
    """Density ``β / (2 α Γ(1/β)) · exp(−(|x|/α)^β)`` with scale α and power β around 0. Nadarajah 2005."""

    arg_constraints = {"scale": constraints.positive, "power": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, scale: Any, power: Any, validate_args: bool | None = None) -> None:
        self.scale, self.power = broadcast_all(scale, power)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * (torch.lgamma(3.0 / self.power) - torch.lgamma(1.0 / self.power)).exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> GeneralisedNormal:
        shape = torch.Size(batch_shape)
        return GeneralisedNormal(self.scale.expand(shape), self.power.expand(shape), validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        one = torch.ones_like(self.scale)
        size = Gamma(1.0 / self.power, one, validate_args=False).rsample(torch.Size(sample_shape)) ** (1.0 / self.power)
        sign = 2.0 * torch.randint(0, 2, shape, dtype=self.scale.dtype, device=self.scale.device) - 1.0
        return self.scale * sign * size

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        normaliser = self.power.log() - math.log(2.0) - self.scale.log() - torch.lgamma(1.0 / self.power)
        return normaliser - (value.abs() / self.scale) ** self.power
