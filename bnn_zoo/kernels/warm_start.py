"""Warm-up of AdjustedMCLMC, as a kernel around it: MCLMC first, which comes to the posterior and learns its scales in few
gradients; then the step size by the acceptance rate. Robnik, Cohn-Gordon & Seljak 2025, section 5; Robnik & Seljak 2026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._ranks import ALONE, Pool
from .._tree import node
from ..types import LogJointFn, Randomness
from .adaptation import DualAveraging, reasonable_step_size
from .adjusted_mclmc import AdjustedMCLMC, Flown
from .hmc import HMCInfo, HMCState
from .isokinetic import MCLACHLAN
from .mass import MassMatrix
from .mclmc import MCLMC
from .metric import Diagonal
from .scale_adaptation import ScaleAdaptation, ScaleState

SHARE, STEPS = 0.6, 10
"""Of the warm-up, that by MCLMC; and how many of its steps stand for a transition, about as many gradients as that costs."""
ENERGY_VARIANCE = 5e-4
SHORTEST, LONGEST = 1.0, 3.0
"""Trajectory lengths that are taken, in posterior standard deviations. A decoherence length is that of what is slowest,
between modes as well, where longer trajectories do not help."""


@node
class WarmState(NamedTuple):
    """State inside, MCLMC's first and then the kernel's; parameters of the kernel; the tuning of its step size, which a step
    changes in place; transitions so far."""

    inner: Any
    parameters: Flown
    stepper: DualAveraging
    step: int

    @property
    def position(self) -> Tensor:
        position: Tensor = self.inner.position
        return position


@dataclass(frozen=True)
class WarmStart:
    """``kernel`` with the parameters that ``warmup`` transitions find; then they stay.

    The first 60 % of them are ``STEPS`` steps of MCLMC each, with its own tuning: they hand on positions, the metric, and as
    length of trajectories half of MCLMC's decoherence length, where ``length`` does not say it. In the others the step size
    is tuned to the acceptance rate ``target_accept`` by dual averaging. Where the mass matrix is ``pooled`` all is tuned to
    the chains of ``pool``, of which those here may be a part.
    """

    kernel: AdjustedMCLMC
    warmup: int
    target_accept: float
    mass_matrix: MassMatrix
    step_size: float | None = None
    length: float | None = None
    pool: Pool = ALONE

    @property
    def _pool(self) -> Pool:
        return self.pool if self.mass_matrix.pooled else ALONE

    @property
    def _first(self) -> int:
        """Transitions by MCLMC."""
        return int(SHARE * self.warmup)

    @property
    def _mclmc(self) -> ScaleAdaptation:
        steps = STEPS * self._first
        return ScaleAdaptation(MCLMC(MCLACHLAN), steps, ENERGY_VARIANCE, self.mass_matrix, pool=self.pool)

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> WarmState:
        stepper = DualAveraging(self.target_accept, pooled=self.mass_matrix.pooled)
        if self._first:
            scales: ScaleState = self._mclmc.init(position, target, random)
            return WarmState(scales, self._so_far(scales), stepper, 0)
        state = WarmState(self.kernel.init(position, target, random), self._so_far(None, position), stepper, 0)
        return self._begun(target, state, random)

    def step(
        self, target: LogJointFn, state: WarmState, parameters: Any, random: Randomness
    ) -> tuple[WarmState, HMCInfo]:
        at = state.step + 1
        if at <= self._first:
            scales, info = self._many(target, state.inner, random)
            state = WarmState(scales, self._so_far(scales), state.stepper, at)
            return (self._begun(target, self._handed(state), random) if at == self._first else state), info
        inner, info = self.kernel.step(target, state.inner, state.parameters, random)
        state = state._replace(inner=inner, step=at)
        if at <= self.warmup:
            state.stepper.update(self._pool.every(info.acceptance_rate).to(state.parameters.step_size))
            state = self._sized(state, last=at == self.warmup)
        return state, info

    def _many(self, target: LogJointFn, scales: ScaleState, random: Randomness) -> tuple[ScaleState, HMCInfo]:
        """``STEPS`` steps of MCLMC, told as one transition."""
        mclmc, lost, error = self._mclmc, [], torch.zeros_like(scales.log_joint)
        for _ in range(STEPS):
            scales, info = mclmc.step(target, scales, None, random)
            lost.append(info.diverging)
            error = error + info.energy_error
        taken_back = torch.stack(lost)
        gradients = torch.full_like(error, STEPS * (len(mclmc.kernel.coefficients) // 2))
        rate = 1.0 - taken_back.to(error).mean(0)
        return scales, HMCInfo(rate, -scales.log_joint, error, taken_back.all(0), gradients)

    def _so_far(self, scales: ScaleState | None, position: Tensor | None = None) -> Flown:
        """Parameters as MCLMC has them just now, in units of the kernel: a path of √d is a length of 1."""
        if scales is None:
            ones = torch.ones_like(position)
            return Flown(Diagonal(ones), ones[:, 0] * (self.step_size or 0.1), self.length or self.kernel.trajectory_length)
        (scale, step_size, decoherence), root = scales.parameters, scales.position.shape[-1] ** 0.5
        length = self.length or min(max(0.5 * float(self._pool.every(decoherence).mean()) / root, SHORTEST), LONGEST)
        return Flown(Diagonal(scale.square().contiguous()), step_size / root, length)

    def _handed(self, state: WarmState) -> WarmState:
        position, _, log_joint, gradient = state.inner.inner
        return state._replace(inner=HMCState(position, log_joint, gradient))

    def _begun(self, target: LogJointFn, state: WarmState, random: Randomness) -> WarmState:
        """With a first step size, from which it is tuned."""
        inner, metric, pool = state.inner, state.parameters.metric, self._pool
        guess = torch.full_like(inner.log_joint, self.step_size) if self.step_size else state.parameters.step_size
        first = guess if self.step_size else reasonable_step_size(target, inner, metric, guess, random)
        state.stepper.restart(pool.every(first))
        return self._sized(state, last=self._first == self.warmup or not self.warmup)

    def _sized(self, state: WarmState, last: bool) -> WarmState:
        step_size = self._pool.own(state.stepper.final if last else state.stepper.step_size)
        return state._replace(parameters=state.parameters._replace(step_size=step_size))
