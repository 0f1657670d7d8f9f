"""Step size of a sampler without an accept step, from the variance of its energy error. Robnik et al. 2023, section 3.2."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._tree import node

MEMORY = 150.0
"""Steps over which the estimate forgets."""
TRUST = 1.5
"""Errors that stray from the wanted size by a factor of e^(6 · 1.5) count by e^(−1/2): outliers hardly steer."""

WORST, LARGEST = 30.0, 85.0
"""Of log ξ, as much as one step can say (far from the posterior it is worse), and what float32 can exponentiate."""

LOG_2, FIVE = 0.6931472, 5.0

QUIET, IN_A_ROW = -6.6, 8
"""log ξ of a step whose ε is a third of the wanted."""


@node
@dataclass
class EnergyVariance:
    """Step size at which E[ΔE²] / d is ``target``: one for all chains, or, not ``pooled``, each its own.

    ΔE² grows as ε⁶, so each step estimates ξ / ε⁶ with ξ = ΔE² / (d · target), weighted by how well the prediction
    held, w = exp(−½ (log ξ / (6 · 1.5))²), and ε = (Σ w ξ ε⁻⁶ / Σ w)^(−1/6) over the last steps. A step that was taken
    back halves ε: memory is then as if five steps had asked for that. Since ε⁻⁶ of a step once much too small would be
    remembered for thousands of steps, eight in a row with ε less than a third of the wanted in every chain wipe the memory.
    """

    target: float
    dim: int
    pooled: bool = True
    log_step: Tensor = field(default_factory=lambda: torch.zeros(()))
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    weight: Tensor = field(default_factory=lambda: torch.zeros(()))
    quiet: Tensor = field(default_factory=lambda: torch.zeros(()))

    def restart(self, step_size: Tensor) -> None:
        """Begin anew at ``step_size``: a scalar, or ``[chain]`` where each chain has its own."""
        self.log_step = step_size.log()
        self.total, self.weight = torch.zeros_like(step_size), torch.zeros_like(step_size)
        self.quiet = torch.zeros_like(step_size)

    def update(self, energy_error: Tensor, diverging: Tensor) -> None:
        """Take in the errors ``[chain]`` of one step. Everything stays on the device."""
        decay = (MEMORY - 1.0) / (MEMORY + 1.0)
        xi = energy_error.nan_to_num(posinf=0.0).square() / (self.dim * self.target) + 1e-8
        log_xi = xi.log().clamp(max=WORST)
        w = torch.exp(-0.5 * (log_xi / (6.0 * TRUST)).square()).masked_fill(diverging, 0.0)
        self.quiet = torch.where(self._all(log_xi < QUIET), self.quiet + 1.0, 0.0)
        wiped = self.quiet >= IN_A_ROW
        self.quiet = self.quiet.masked_fill(wiped, 0.0)
        kept = self.total.masked_fill(wiped, 0.0), self.weight.masked_fill(wiped, 0.0)
        self.total = decay * kept[0] + self._mean(w * (log_xi - 6.0 * self.log_step).clamp(max=LARGEST).exp())
        self.weight = decay * kept[1] + self._mean(w)
        lost, half = ~self._all(~diverging), self.log_step - LOG_2
        self.weight = torch.where(lost, FIVE, self.weight)
        self.total = torch.where(lost, FIVE * (-6.0 * half).clamp(max=LARGEST).exp(), self.total)
        wanted = (self.weight.log() - self.total.log()) / 6.0
        self.log_step = torch.where(self.weight > 0, wanted, self.log_step)

    def _mean(self, each: Tensor) -> Tensor:
        return each.mean() if self.pooled else each

    def _all(self, each: Tensor) -> Tensor:
        return each.all() if self.pooled else each

    @property
    def step_size(self) -> Tensor:
        """The step size to use next, a scalar or ``[chain]``."""
        return self.log_step.exp()
