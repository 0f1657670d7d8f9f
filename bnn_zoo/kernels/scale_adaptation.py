"""Warm-up of MCLMC, as a kernel around it: scales, step size and decoherence length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._ranks import ALONE, Pool
from .._tree import node
from ..diagnostics import ess_mean
from ..types import LogJointFn, Randomness
from .energy_variance import EnergyVariance
from .mass import MassMatrix
from .mclmc import MCLMC, MCLMCInfo, MCLMCState, Microcanonical

WINDOWS = (0.05, 0.12, 0.3, 0.6)
"""Shares of the warm-up at which scales begin to be looked at, and are set from what was seen since the last."""
FEW = 10
"""Positions from which no scales are set."""
BACK = 10
"""Steps over which a halved step size comes back."""
SNAPSHOTS, DIMS = 500, 200
"""Of the last part of the warm-up: positions kept and dimensions looked at, to find the decoherence length."""
CLOSE = 3.0
"""Autocorrelation times, in intervals of what is looked at, below which every single step has to be looked at."""


@node
@dataclass
class Late:
    """Of the last part of the warm-up, at most ``SNAPSHOTS + 1`` times: some dimensions of the positions, in units of σ, and
    the logarithm of the step size; and such positions after each of its last ``SNAPSHOTS`` steps."""

    positions: list[Tensor] = field(default_factory=list)
    log_steps: list[Tensor] = field(default_factory=list)
    steps: list[Tensor] = field(default_factory=list)


@node
class ScaleState(NamedTuple):
    """State and parameters of ``MCLMC``, how often ε is halved just now ``[chain]``, and what the tuning has seen, which a
    step changes in place."""

    inner: MCLMCState
    parameters: Microcanonical
    halvings: Tensor
    stepper: EnergyVariance
    seen: Any
    late: Late
    step: int

    @property
    def position(self) -> Tensor:
        return self.inner.position

    @property
    def log_joint(self) -> Tensor:
        return self.inner.log_joint


@dataclass(frozen=True)
class ScaleAdaptation:
    """``kernel`` with the parameters that ``warmup`` steps find: a step size, then scales three times, each with a new step
    size, then L. ``step_size`` and ``length`` are those of the draws where they are given. The first scales, of chains that
    may be on their way, are by the mass matrix's rule for ``early`` windows, if it has one.

    After the warm-up a chain whose step was taken back goes on at half its ε, and comes back to ε over ``BACK`` steps.
    """

    kernel: MCLMC
    warmup: int
    energy_variance: float
    mass_matrix: MassMatrix
    step_size: float | None = None
    length: float | None = None
    pool: Pool = ALONE

    @property
    def _pool(self) -> Pool:
        """The chains that tune together with those here."""
        return self.pool if self.mass_matrix.pooled else ALONE

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> ScaleState:
        ones, dim = position.new_ones(len(position)), position.shape[-1]
        stepper = EnergyVariance(self.energy_variance, dim, self.mass_matrix.pooled)
        begin = ones * (0.1 * dim**0.25)
        stepper.restart(begin[0] if stepper.pooled else begin)
        given = self.step_size if self.step_size and not self.warmup else None
        step_size = ones * (given or stepper.step_size)
        parameters = Microcanonical(torch.ones_like(position), step_size, ones * (self.length or dim**0.5))
        inner = self.kernel.init(position, target, random)
        return ScaleState(inner, parameters, 0.0 * ones, stepper, self._rule(0).estimator(), Late(), 0)

    def step(
        self, target: LogJointFn, state: ScaleState, parameters: Any, random: Randomness
    ) -> tuple[ScaleState, MCLMCInfo]:
        scale, step_size, length = state.parameters
        here = Microcanonical(scale, step_size * torch.exp2(-state.halvings), length)
        inner, info = self.kernel.step(target, state.inner, here, random)
        state = state._replace(inner=inner, step=state.step + 1)
        if state.step <= self.warmup:
            return self._tuned(state, info), info
        halvings = torch.where(info.diverging, state.halvings + 1.0, (state.halvings - 1.0 / BACK).clamp(min=0.0))
        return state._replace(halvings=halvings), info

    @property
    def every(self) -> int:
        """Steps from one that is looked at late in the warm-up to the next."""
        return max(1, (self.warmup - self._windows[-1]) // SNAPSHOTS)

    @property
    def _windows(self) -> list[int]:
        return [int(share * self.warmup) for share in WINDOWS]

    def _rule(self, step: int) -> Any:
        """That of the scales which are set after this step or the next ones. Windows of few steps are one, of one rule."""
        begin, end, last, _ = self._windows
        if step >= last or end - begin <= FEW:
            return self.mass_matrix
        return getattr(self.mass_matrix, "early", self.mass_matrix)

    def _tuned(self, state: ScaleState, info: MCLMCInfo) -> ScaleState:
        """After ``state.step`` steps, the last of which gave ``info``."""
        windows, i = self._windows, state.step - 1
        (scale, step_size, length), stepper, late, pool = state.parameters, state.stepper, state.late, self._pool
        ones = torch.ones_like(step_size)
        stepper.update(pool.every(info.energy_error.to(step_size)), pool.every(info.diverging))
        if windows[0] <= i < windows[-1]:
            state.seen.update(state.position, state.inner.gradient)
        elif i >= windows[-1]:
            self._look(state, i)
        if state.step in windows[1:] and state.seen.count > FEW:
            every: Any = self._rule(i).estimate(pool.tree(state.seen))
            new = pool.own(every.variance.sqrt())
            state = state._replace(seen=self._rule(state.step).estimator())
            ratio = (scale / new).log().mean(-1).exp()
            stepper.restart(stepper.step_size * (pool.every(ratio).log().mean().exp() if stepper.pooled else ratio))
            scale = new
        step_size = ones * stepper.step_size
        if state.step == self.warmup:
            step_size, length = self._final(late, step_size, length)
            state = state._replace(late=Late())
        return state._replace(parameters=Microcanonical(scale, step_size, length))

    def _look(self, state: ScaleState, i: int) -> None:
        """At the position after step i, late in the warm-up, for the correlation from step to step."""
        late, spaced = state.late, i % self.every == 0 and len(state.late.positions) <= SNAPSHOTS
        last = self.every > 1 and i >= self.warmup - SNAPSHOTS
        if not spaced and not last:
            return
        dim, scale = state.position.shape[-1], state.parameters.scale
        some = torch.linspace(0, dim - 1, min(DIMS, dim), device=scale.device).long()
        position = (state.position / scale)[:, some]
        if spaced:
            late.positions.append(position)
            late.log_steps.append(state.stepper.log_step)
        if last:
            late.steps.append(position)

    def _final(self, late: Late, step_size: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """The step size of the last part, averaged; L = 0.4 ε τ with τ the autocorrelation time in steps, averaged over
        dimensions (Robnik et al. 2023, section 3.3)."""
        if self.step_size is not None:
            step_size = torch.full_like(step_size, self.step_size)
        elif late.log_steps:
            later = late.log_steps[len(late.log_steps) // 4 :]
            step_size = torch.ones_like(step_size) * torch.stack(later).mean(0).exp()
        if self.length is None and len(late.positions) >= 20:
            tau = self.every * self._tau(late.positions)
            if late.steps and tau < CLOSE * self.every:
                tau = torch.minimum(tau, self._tau(late.steps))
            length = 0.4 * step_size * tau.to(step_size)
        return step_size, length

    def _tau(self, positions: list[Tensor]) -> Tensor:
        """The autocorrelation time of positions ``[chain, dimension]`` one after the other, at least about 1."""
        series = torch.stack(positions).flatten(1)[None]
        tau = len(positions) / ess_mean(series).clamp(min=1.0)
        return self._pool.every(tau.reshape(len(positions[0]), -1)).nanmean()
