"""Beta over the shares that have a density: between 0 and 1, without them."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import biject_to, constraints, transforms


class BetweenZeroAndOne(constraints.Constraint):
    """0 < y < 1."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)

    def __repr__(self) -> str:
        return "numbers between 0 and 1, without them"


class OpenBeta(dist.Beta):
    """Beta whose support is open. At 0 and 1 its density is 0 or infinite, and torch's Beta takes both values."""

    support = BetweenZeroAndOne()


@biject_to.register(BetweenZeroAndOne)
def _(_: BetweenZeroAndOne) -> transforms.Transform:
    return transforms.SigmoidTransform()
