"""Horseshoe with a slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch

from ..laws import RootInverseGamma
from .scale import Law, resolve


@dataclass(frozen=True)
class RegularisedHorseshoe(Law):
    """Horseshoe whose largest weights are ``N(0, c²)``. Piironen & Vehtari 2017, eq. 2.8.

    ``w_i ~ N(0, τ² λ̃_i²)`` with ``λ̃_i² = c² λ_i² / (c² + τ² λ_i²)``, ``λ_i ~ C⁺(0, 1)``, ``τ ~ C⁺(0, scale)`` and
    ``c² ~ InvGamma(ν/2, ν slab²/2)``, ν = ``df``. Sites: ``"<weight>_global_scale"`` τ, ``"<weight>_slab"`` c,
    ``"<weight>_local_scale"`` λ with the weight's shape.
    """

    slab: float = 2.0
    df: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._need_positive("slab", "df")

    def __call__(self, name: str, shape: torch.Size) -> Any:
        law = dist.HalfCauchy(resolve(self.scale, name, shape))
        tau = pyro.sample(f"{name}_global_scale", law.to_event(len(law.batch_shape)))
        half = torch.as_tensor(0.5 * self.df)
        c = pyro.sample(f"{name}_slab", RootInverseGamma(half, half * self.slab**2))
        lam = pyro.sample(f"{name}_local_scale", dist.HalfCauchy(1.0).expand(shape).to_event(len(shape)))
        free = tau * lam
        return dist.Normal(0.0, c * free / (c.square() + free.square()).sqrt()).to_event(len(shape))
