"""Horseshoe prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch

from .scale import Law, resolve


@dataclass(frozen=True)
class Horseshoe(Law):
    """Sparsity: ``w_i ~ N(0, τ² λ_i²)``, ``λ_i ~ C⁺(0, 1)``, ``τ ~ C⁺(0, scale)``. Carvalho, Polson & Scott 2010.

    Sites: ``"<weight>_global_scale"`` τ, ``"<weight>_local_scale"`` λ with the weight's shape. Written centred; for
    samplers that suffer from the funnel, decentre it from outside:
    ``handlers.NonCentred(model, "*.weight")``.
    """

    def __call__(self, name: str, shape: torch.Size) -> Any:
        law = dist.HalfCauchy(resolve(self.scale, name, shape))
        tau = pyro.sample(f"{name}_global_scale", law.to_event(len(law.batch_shape)))
        lam = pyro.sample(f"{name}_local_scale", dist.HalfCauchy(1.0).expand(shape).to_event(len(shape)))
        return dist.Normal(0.0, tau * lam).to_event(len(shape))
