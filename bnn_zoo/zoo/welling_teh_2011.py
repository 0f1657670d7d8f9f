"""Two tied means of a mixture: the two-dimensional posterior with two modes of the first paper on Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor


def welling_teh_mixture() -> Callable[..., Tensor]:
    """``y ~ ½ N(θ₁, 2) + ½ N(θ₁ + θ₂, 2)``, θ₁ ~ N(0, 10), θ₂ ~ N(0, 1): variances. Welling & Teh 2011, section 5.1.

    A model ``(y [n], size=None)``. Their data are 100 draws at θ = (0, 1): modes are there and at (1, −1).
    """

    def model(y: Tensor, *, size: int | None = None) -> Tensor:
        first = pyro.sample("theta1", dist.Normal(y.new_zeros(()), 10.0**0.5))
        second = pyro.sample("theta2", dist.Normal(y.new_zeros(()), 1.0))
        parts = dist.Normal(torch.stack([first, first + second]), 2.0**0.5)
        with pyro.plate("data", size or len(y), subsample=y):
            return pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(y.new_full((2,), 0.5)), parts), obs=y)

    return model
