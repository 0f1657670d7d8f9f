"""Two classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ._output import need


@dataclass(frozen=True)
class Bernoulli:
    """``P(y = 1) = sigmoid(f)``: y is ``[n]`` of 0 and 1, the network gives ``[n, 1]`` logits."""

    def out_features(self, columns: int = 1) -> int:
        """One logit: y is ``[n]``."""
        return 1

    def __call__(self, f: Tensor) -> Any:
        need("Bernoulli", f, f.shape[-1] == 1, "one output (for several classes use Categorical)")
        return dist.Bernoulli(logits=f.squeeze(-1))
