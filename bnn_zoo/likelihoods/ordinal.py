"""Classes with an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
from pyro.distributions.transforms import OrderedTransform
from torch import Tensor

from .._scope import factory
from ..laws import check_scale
from ._output import need


@dataclass(frozen=True)
class Ordinal:
    """``P(y ≤ k) = sigmoid(c_k − f)`` with cutpoints ``c_0 < c_1 < …``: proportional odds. McCullagh 1980.

    y is ``[n]`` of integers 0 … classes − 1, the network gives ``[n, 1]``. The cutpoints are inferred at the site
    ``"cutpoints"``, ``[classes − 1]``: c_0 and the logarithms of the gaps are normal with standard deviation ``scale``.
    """

    classes: int
    scale: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.classes, bool) or not isinstance(self.classes, int) or self.classes < 3:
            raise ValueError(
                f"Ordinal: classes must be a whole number of at least 3, got {self.classes!r}; for two use Bernoulli"
            )
        check_scale(self.scale, "Ordinal: the scale of the cutpoints")

    def out_features(self, columns: int = 1) -> int:
        """One: y is ``[n]``."""
        return 1

    def __call__(self, f: Tensor) -> Any:
        need("Ordinal", f, f.shape[-1] == 1, "one output")
        with factory(f.device, f.dtype):
            free = dist.Normal(f.new_zeros(self.classes - 1), self.scale).to_event(1)
            cutpoints = pyro.sample("cutpoints", dist.TransformedDistribution(free, [OrderedTransform()]))
            return dist.OrderedLogistic(f.squeeze(-1), cutpoints)
