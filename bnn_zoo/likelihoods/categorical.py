"""Several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ._output import need


@dataclass(frozen=True)
class Categorical:
    """``y ~ softmax(f)``: y is ``[n]`` of integers 0 … classes − 1, the network gives ``[n, classes]`` logits."""

    def __call__(self, f: Tensor) -> Any:
        need("Categorical", f, f.shape[-1] >= 2, "one output a class, at least two (for one output use Bernoulli)")
        return dist.Categorical(logits=f)
