"""The core of the stochastic-gradient samplers: one update each for overdamped, underdamped and thermostatted dynamics.

``gradient`` is ∇log p of the posterior, estimated from a minibatch whose rows count N/n. ε is the step size of SGLD in all
of them, so that methods compare at equal ε: with friction a = 1 the underdamped update is the overdamped one. ``G`` is a
diagonal preconditioner (an inverse mass), 1 or ``[chain, dim]``, and T the temperature: at T = 0 no noise is added, and what
is left is gradient ascent, with momentum 1 − a or without.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._tree import node
from ..types import Randomness

Precondition = Tensor | float


class LangevinInfo(NamedTuple):
    """At the position before the step: the minibatch estimate ``lp [chain]`` of the log joint, that position and its
    gradient ``[chain, dim]``; and, where there is a momentum, the kinetic temperature ``[chain]`` after it."""

    lp: Tensor
    position: Tensor
    gradient: Tensor
    kinetic_temperature: Tensor | None = None

    def configurational_temperature(self, reference: Tensor | float = 0.0) -> Tensor:
        """``−(q − c)·∇log p(q) / d`` ``[chain]``: its mean under p^(1/T) is T whatever the ``reference`` c, and its noise
        least for c near the mean of q. Wenzel et al. 2020, appendix I.2, with c = 0."""
        return -((self.position - reference) * self.gradient).mean(1)


@node
class Heat(NamedTuple):
    """Parameters: step size ε and temperature T, the same for all chains."""

    step_size: float
    temperature: float


def overdamped(q: Tensor, gradient: Tensor, heat: Heat, random: Randomness, G: Precondition = 1.0) -> Tensor:
    """``q ← q + ε/2 G ∇log p + √(ε T G) ξ``: Welling & Teh 2011, eq. 4."""
    return _moved(q, gradient, 0.5 * heat.step_size, heat.step_size * heat.temperature, random, G)


def underdamped(
    q: Tensor,
    v: Tensor,
    gradient: Tensor,
    heat: Heat,
    random: Randomness,
    friction: Tensor | float,
    noise: float,
    G: Precondition = 1.0,
) -> tuple[Tensor, Tensor]:
    """``v ← (1 − a) v + ε/2 G ∇log p + √(b ε T G) ξ;  q ← q + v``: Chen, Fox & Guestrin 2014, eq. 15, with ε/2 for their η
    and friction a; b = a balances, a thermostat lets a differ. The law of v tends to N(0, ε T G / 2) as a → 0."""
    variance = noise * heat.step_size * heat.temperature
    v = _moved((1.0 - friction) * v, gradient, 0.5 * heat.step_size, variance, random, G)
    return q + v, v


def kinetic_temperature(v: Tensor, step_size: float, friction: Tensor | float, G: Precondition = 1.0) -> Tensor:
    """``|v|² / d`` in units of its variance at T = 1, ``[chain]``: its mean is T. With discrete steps that variance is
    ``ε G / 2 · 1 / (1 − a/2)`` in a flat place."""
    return (v.square() / G).mean(1, keepdim=True).mul((1.0 - 0.5 * friction) / (0.5 * step_size)).squeeze(1)


def _moved(x: Tensor, gradient: Tensor, rate: float, variance: float, random: Randomness, G: Precondition) -> Tensor:
    """``x + rate · G ∇log p + √(variance G) ξ``; where G is a number it is 1."""
    if isinstance(G, float):
        if variance > 0:
            return random.moved(x, gradient, rate, variance**0.5)
        return torch.add(x, gradient, alpha=rate)
    new = torch.add(x, G * gradient, alpha=rate)
    return new.addcmul_(random.normal(x.shape[-1]), G.sqrt(), value=variance**0.5) if variance > 0 else new
