"""Stochastic-gradient Hamiltonian Monte Carlo, plain and scale-adapted. Chen et al. 2014; Springenberg et al. 2016."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .langevin import Heat, LangevinInfo, kinetic_temperature, underdamped


@node
class SGHMCState(NamedTuple):
    """Position, velocity (the last move), and the running estimates of the scale adaptation, all ``[chain, dim]``."""

    position: Tensor
    velocity: Tensor
    window: Tensor
    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class SGHMC:
    """``v ← (1 − a) v + ε/2 G ∇log p + √(a ε T G) ξ;  θ ← θ + v`` with friction a and G = 1. Chen et al. 2014, eq. 15.

    ``scale_adapted``: ``G = V̂^(−½)`` with V̂ the mean square of the gradient of a row (∇log p over ``rows``), taken over a
    window τ that is long where gradients are noisy. V̂ moves while ``adapting``, which is for burn-in; then it stays, so that
    nothing is added to the bias. Springenberg et al. 2016, section 3; their ε² is rows · ε/2.
    """

    friction: float = 0.05
    rows: float = 1.0
    scale_adapted: bool = False
    adapting: bool = False

    @property
    def one_scale(self) -> bool:
        """Whether all coordinates have the same step size."""
        return not self.scale_adapted

    @staticmethod
    def resized(state: SGHMCState, ratio: float) -> SGHMCState:
        """The state for a step size ``ratio`` times as large: a velocity is a step in units of √ε."""
        return state._replace(velocity=state.velocity * ratio**0.5)

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> SGHMCState:
        zero = torch.zeros_like(position)
        return SGHMCState(position, zero, zero, zero, torch.ones_like(position))

    def step(
        self, target: LogJointFn, state: SGHMCState, parameters: Heat, random: Randomness
    ) -> tuple[SGHMCState, LangevinInfo]:
        value, gradient = target(state.position)
        if self.adapting:
            state = self.adapt(state, gradient)
        G: Tensor | float = state.square.rsqrt() if self.scale_adapted else 1.0
        a, at = self.friction, state.position
        q, v = underdamped(at, state.velocity, gradient, parameters, random, a, a, G)
        info = LangevinInfo(value, at, gradient, kinetic_temperature(v, parameters.step_size, a, G))
        return state._replace(position=q, velocity=v), info

    def adapt(self, state: SGHMCState, gradient: Tensor) -> SGHMCState:
        """``τ ← 1 + τ (1 − ĝ²/V̂);  ĝ ← ĝ + (g − ĝ)/(τ + 1);  V̂ ← V̂ + (g² − V̂)/(τ + 1)`` with g the gradient of a row.

        The paper divides by τ, where τ stays at 1 once it is there. τ begins at 0, so that the first gradient is the first
        estimate.
        """
        g = gradient / self.rows
        window = 1.0 + state.window * (1.0 - state.mean.square() / state.square.clamp(min=1e-30))
        rate = 1.0 / (state.window.clamp(min=0.0) + 1.0)
        return state._replace(
            window=window,
            mean=state.mean + rate * (g - state.mean),
            square=(state.square + rate * (g.square() - state.square)).clamp(min=1e-16),
        )


@node
class SGNHTState(NamedTuple):
    """Position and velocity ``[chain, dim]``, and the friction ``[chain, 1]`` that the thermostat has reached."""

    position: Tensor
    velocity: Tensor
    friction: Tensor


@dataclass(frozen=True)
class SGNHT:
    """``v ← (1 − α) v + ε/2 ∇log p + √(a ε T) ξ;  θ ← θ + v;  α ← α + c (T_kinetic / T − 1)``. Ding et al. 2014.

    The thermostat c raises the friction α above a until the kinetic temperature is T: noise of the minibatches, which heats
    SGLD and SGHMC, is cooled away without being known. Ding's ``c`` is ε/2 (unit thermostat mass), which on a posterior of
    many rows takes millions of steps to act; any c > 0 leaves the same law. α stops at 1, where nothing is left of the
    velocity: if that is not cold enough, only a smaller ε is. At T = 0 it does not move.
    """

    friction: float = 0.05
    coupling: float = 0.01
    one_scale = True

    @staticmethod
    def resized(state: SGNHTState, ratio: float) -> SGNHTState:
        """As of ``SGHMC``."""
        return state._replace(velocity=state.velocity * ratio**0.5)

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> SGNHTState:
        return SGNHTState(position, torch.zeros_like(position), torch.full_like(position[:, :1], self.friction))

    def step(
        self, target: LogJointFn, state: SGNHTState, parameters: Heat, random: Randomness
    ) -> tuple[SGNHTState, LangevinInfo]:
        value, gradient = target(state.position)
        q, v = underdamped(state.position, state.velocity, gradient, parameters, random, state.friction, self.friction)
        kinetic = kinetic_temperature(v, parameters.step_size, state.friction)
        friction = state.friction
        if parameters.temperature > 0:
            friction = (friction + self.coupling * (kinetic / parameters.temperature - 1.0).unsqueeze(-1)).clamp(max=1.0)
        return SGNHTState(q, v, friction), LangevinInfo(value, state.position, gradient, kinetic)
