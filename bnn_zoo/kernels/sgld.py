"""Stochastic-gradient Langevin dynamics, plain and preconditioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import LogJointFn, Randomness
from .langevin import Heat, LangevinInfo, overdamped


@node
class SGLDState(NamedTuple):
    """Position ``[chain, dim]``: all that the next step needs."""

    position: Tensor


@dataclass(frozen=True)
class SGLD:
    """``θ ← θ + ε/2 ∇log p(θ, batch) + √(ε T) ξ``, ξ ~ N(0, 1), with the batch's rows scaled by N/n in log p.

    Its stationary law tends to p^(1/T) as ε → 0. There is no Metropolis step: at finite ε the bias is of order ε, and
    minibatch noise adds ε²/4 Var[∇log p] per step to the injected ε T. Welling & Teh 2011, eq. 4.
    """

    one_scale = True

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> SGLDState:
        return SGLDState(position)

    @staticmethod
    def resized(state: SGLDState, ratio: float) -> SGLDState:
        """The state for a step size ``ratio`` times as large."""
        return state

    @staticmethod
    def step(target: LogJointFn, state: SGLDState, parameters: Heat, random: Randomness) -> tuple[SGLDState, LangevinInfo]:
        q = state.position
        value, gradient = target(q)
        new = overdamped(q, gradient, parameters, random)
        return SGLDState(new), LangevinInfo(value, q, gradient)


@node
class PSGLDState(NamedTuple):
    """Position and running mean square of the gradient of a row, both ``[chain, dim]``, and steps made."""

    position: Tensor
    square: Tensor
    steps: int


@dataclass(frozen=True)
class PSGLD:
    """SGLD preconditioned as RMSprop: ``V ← α V + (1 − α) ḡ²``, ``G = 1 / (λ + √V)``, ``θ ← θ + ε/2 G ∇log p + √(ε T G) ξ``.

    ḡ is the gradient divided by the number ``rows`` of rows, so that λ and ε mean the same for any data size. The exact
    dynamics has a term ``Γ = ∇·G`` besides, which needs second derivatives: it is left out here, as in the experiments of
    Li et al. 2016 (section 4.3: the bias this leaves is of order 1 − α). V starts as the first ḡ².
    """

    rows: float = 1.0
    decay: float = 0.99
    damping: float = 1e-5
    one_scale = False

    @staticmethod
    def init(position: Tensor, target: LogJointFn, random: Randomness) -> PSGLDState:
        return PSGLDState(position, torch.zeros_like(position), 0)

    def step(
        self, target: LogJointFn, state: PSGLDState, parameters: Heat, random: Randomness
    ) -> tuple[PSGLDState, LangevinInfo]:
        q = state.position
        value, gradient = target(q)
        mean = gradient / self.rows
        square = mean.square() if state.steps == 0 else torch.lerp(mean.square(), state.square, self.decay)
        new = overdamped(q, gradient, parameters, random, 1.0 / (self.damping + square.sqrt()))
        return PSGLDState(new, square, state.steps + 1), LangevinInfo(value, q, gradient)
