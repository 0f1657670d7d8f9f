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
HANDED = 0.7
"""Of MCLMC's decoherence length, the mean length of trajectories."""
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
    length of trajectories 0.7 of MCLMC's decoherence length, where ``length`` does not say it. In the others the step size
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
        length = self.length or self.kernel.trajectory_length
        if self._first:
            scales = self._mclmc.init(position, target, random)
            return WarmState(scales, self._so_far(scales, length), stepper, 0)
        ones = torch.ones_like(position)
        parameters = Flown(Diagonal(ones), 0.1 * ones[:, 0], length)
        state = WarmState(self.kernel.init(position, target, random), parameters, stepper, 0)
        return self._begun(target, state, random)

    def step(self, target: LogJointFn, state: WarmState, parameters: Any, random: Randomness) -> tuple[WarmState, HMCInfo]:
        at = state.step + 1
        if at <= self._first:
            scales, info = self._many(target, state.inner, random)
            state = WarmState(scales, self._so_far(scales, state.parameters.length), state.stepper, at)
            return (self._handed(target, state, random) if at == self._first else state), info
        inner, info = self.kernel.step(target, state.inner, state.parameters, random)
        state = state._replace(inner=inner, step=at)
        if at <= self.warmup:
            state.stepper.update(self._pool.every(info.acceptance_rate).to(state.parameters.step_size))
            state = self._sized(state)
        return state, info

    def _many(self, target: LogJointFn, scales: ScaleState, random: Randomness) -> tuple[ScaleState, HMCInfo]:
        """``STEPS`` steps of MCLMC, told as one transition: the acceptance rate is the share that was not taken back."""
        mclmc, lost, error = self._mclmc, [], torch.zeros_like(scales.log_joint)
        for _ in range(STEPS):
            scales, info = mclmc.step(target, scales, None, random)
            lost.append(info.diverging)
            error = error + info.energy_error
        taken_back = torch.stack(lost)
        rate = 1.0 - taken_back.to(error).mean(0)
        gradients = torch.full_like(error, STEPS * (len(mclmc.kernel.coefficients) // 2))
        return scales, HMCInfo(rate, -scales.log_joint, error, taken_back.all(0), gradients)

    @staticmethod
    def _so_far(scales: ScaleState, length: float) -> Flown:
        """The kernel's parameters as MCLMC has them just now: in the kernel's units a path of √d is 1."""
        scale, step_size, _ = scales.parameters
        return Flown(Diagonal(scale.square().contiguous()), step_size / scale.shape[-1] ** 0.5, length)

    def _handed(self, target: LogJointFn, state: WarmState, random: Randomness) -> WarmState:
        """From MCLMC to the kernel."""
        position, _, log_joint, gradient = state.inner.inner
        decoherence = float(self._pool.every(state.inner.parameters.length).mean()) / position.shape[-1] ** 0.5
        length = self.length or min(max(HANDED * decoherence, SHORTEST), LONGEST)
        parameters = state.parameters._replace(length=length)
        return self._begun(
            target, state._replace(inner=HMCState(position, log_joint, gradient), parameters=parameters), random
        )

    def _begun(self, target: LogJointFn, state: WarmState, random: Randomness) -> WarmState:
        """With a first step size, from which it is tuned."""
        guess = state.parameters.step_size
        if self.step_size:
            first = torch.full_like(guess, self.step_size)
        else:
            first = reasonable_step_size(target, state.inner, state.parameters.metric, guess, random)
        state.stepper.restart(self._pool.every(first))
        return self._sized(state)

    def _sized(self, state: WarmState) -> WarmState:
        step_size = state.stepper.final if state.step == self.warmup else state.stepper.step_size
        return state._replace(parameters=state.parameters._replace(step_size=self._pool.own(step_size)))
