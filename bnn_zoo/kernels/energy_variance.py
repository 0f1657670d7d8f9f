"""Step size of a sampler without an accept step, from the variance of its energy error. Robnik et al. 2023, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

MEMORY = 150.0
"""Steps over which the estimate forgets."""
TRUST = 1.5
"""Errors that stray from the wanted size by a factor of e^(6 · 1.5) count by e^(−1/2): outliers hardly steer."""


@dataclass
class EnergyVariance:
    """Step size at which E[ΔE²] / d is ``target``, one for all chains.

    ΔE² grows as ε⁶, so each step estimates ξ / ε⁶ with ξ = ΔE² / (d · target), weighted by how well the prediction
    held, w = exp(−½ (log ξ / (6 · 1.5))²), and ε = (Σ w ξ ε⁻⁶ / Σ w)^(−1/6) over the last steps. A step that leaves the
    finite numbers bounds ε at 0.8 of what it was from then on.
    """

    target: float
    dim: int
    log_step: Tensor = field(default_factory=lambda: torch.zeros(()))
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    weight: Tensor = field(default_factory=lambda: torch.zeros(()))
    log_bound: Tensor = field(default_factory=lambda: torch.full((), torch.inf))

    def restart(self, step_size: Tensor) -> None:
        """Begin anew at ``step_size``, a scalar tensor."""
        self.log_step = step_size.log()
        self.total, self.weight = torch.zeros_like(step_size), torch.zeros_like(step_size)
        self.log_bound = torch.full_like(step_size, torch.inf)

    def update(self, energy_error: Tensor, diverging: Tensor) -> None:
        """Take in the errors ``[chain]`` of one step. Everything stays on the device."""
        decay = (MEMORY - 1.0) / (MEMORY + 1.0)
        xi = energy_error.nan_to_num(posinf=0.0).square() / (self.dim * self.target) + 1e-8
        w = torch.exp(-0.5 * (xi.log() / (6.0 * TRUST)).square()).masked_fill(diverging, 0.0)
        self.total = decay * self.total + (w * (xi.log() - 6.0 * self.log_step).exp()).mean()
        self.weight = decay * self.weight + w.mean()
        wanted = (self.weight.log() - self.total.log()) / 6.0
        bound = self.log_step - 0.22314355  # log 0.8
        self.log_bound = torch.where(diverging.any(), torch.minimum(self.log_bound, bound), self.log_bound)
        wanted = torch.where(self.weight > 0, wanted, self.log_step)
        self.log_step = torch.minimum(wanted, self.log_bound)

    @property
    def step_size(self) -> Tensor:
        """The step size to use next, a scalar."""
        return self.log_step.exp()
