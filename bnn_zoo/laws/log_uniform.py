"""The law that is uniform in log |w|: scale-free, and the prior under which variational dropout prunes."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints, register_kl

K1, K2, K3 = 0.63576, 1.87320, 1.48695
"""Of the fit to the divergence, Molchanov et al. 2017, eq. 14; it is off by 0.009 at most."""


class LogUniform(TorchDistribution):
    """Density ∝ 1/|w| on the real line: improper, so it has no normaliser and cannot be sampled. Kingma et al. 2015."""

    arg_constraints: dict[str, Any] = {}
    support = constraints.real

    def __init__(self, shape: Any = ()) -> None:
        super().__init__(torch.Size(shape), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogUniform:
        return LogUniform(torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return -value.abs().clamp(min=torch.finfo(value.dtype).tiny).log()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        raise NotImplementedError("the log-uniform law is improper and cannot be sampled: start chains elsewhere")

    rsample = sample


@register_kl(Normal, LogUniform)
def _(q: Normal, p: LogUniform) -> Tensor:
    """Up to a constant, with α = s²/m²: ``k1 − k1 σ(k2 + k3 log α) + ½ log(1 + 1/α)``; 0 as α → ∞. Molchanov et al. 2017."""
    tiny = 1e-16
    log_alpha = 2.0 * q.scale.log() - (q.loc.square() + tiny).log()
    return K1 - K1 * torch.sigmoid(K2 + K3 * log_alpha) + 0.5 * torch.nn.functional.softplus(-log_alpha)
