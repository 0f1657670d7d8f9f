"""Laws with several modes: the network gives a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import softplus

from ._output import need


@dataclass(frozen=True)
class MixtureDensity:
    """``y ~ Σ_c π_c N(m_c, s_c²)``, ``π = softmax``, ``s = floor + softplus``, all of them outputs. Bishop 1994.

    With C ``components`` and k columns of y the network gives ``[n, C (1 + 2 k)]``: C logits of the weights, C·k means
    (component by component), C·k raw scales likewise. y is ``[n]`` for k = 1, else ``[n, k]``; within a component the
    columns are independent. ``floor``, in y's units, keeps a component from collapsing on a row.
    """

    components: int
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if isinstance(self.components, bool) or not isinstance(self.components, int) or self.components < 2:
            raise ValueError(
                f"MixtureDensity: components must be a whole number of at least 2, got {self.components!r}; for one use "
                "HeteroscedasticGaussian"
            )
        if not (self.floor >= 0 and math.isfinite(self.floor)):
            raise ValueError(f"MixtureDensity: floor must be at least 0, got {self.floor}")

    def out_features(self, columns: int = 1) -> int:
        """Of each component a logit, and a mean and a raw scale a column."""
        return self.components * (1 + 2 * columns)

    def __call__(self, f: Tensor) -> Any:
        parts, width = self.components, f.shape[-1]
        each, left = divmod(width, parts)
        expected = f"{3 * parts} outputs for one target column, {2 * parts} more for each other one"
        need("MixtureDensity", f, left == 0 and each % 2 == 1 and each >= 3, expected)
        columns = (each - 1) // 2
        logits, mean, raw = f.split([parts, parts * columns, parts * columns], dim=-1)
        shape = (*f.shape[:-1], parts) if columns == 1 else (*f.shape[:-1], parts, columns)
        law = dist.Normal(mean.reshape(shape), self.floor + softplus(raw).reshape(shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), law if columns == 1 else law.to_event(1))
