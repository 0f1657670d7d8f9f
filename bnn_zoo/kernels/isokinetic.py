"""Dynamics at constant speed: the position moves along a unit velocity u that the gradient turns. Robnik et al. 2023.

The splitting of "Microcanonical Hamiltonian Monte Carlo" (JMLR 24, 2023) and "Microcanonical Langevin Monte Carlo"
(AABI 2024), in coordinates z = x / σ, with g = σ ∇log p(x), e = g / |g| and d dimensions:

    A(ε):  x ← x + ε σ u
    B(ε):  u ← (u + e (sinh δ + e·u (cosh δ − 1))) / (cosh δ + e·u sinh δ),   δ = ε |g| / (d − 1)

B changes the "kinetic energy" by (d − 1) log(cosh δ + e·u sinh δ); with the change of −log p that is the energy error, whose
exponential is also the ratio of densities that a Metropolis step needs.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from ..types import LogJointFn

LEAPFROG = (0.5, 1.0, 0.5)
MCLACHLAN = (0.1931833275037836, 0.5, 0.6136333449924328, 0.5, 0.1931833275037836)
"""Coefficients of B, A, B, …: one gradient a step, and the minimal-norm scheme with two (McLachlan 1995, table 2)."""

Point = tuple[Tensor, Tensor, Tensor, Tensor]
"""``(x [chain, dim], u [chain, dim], log joint [chain], its gradient [chain, dim])``."""


def check_splitting(name: str, coefficients: tuple[float, ...]) -> None:
    """Raise ValueError unless the coefficients are a symmetric splitting B, A, B, …, B of one step of each."""
    wanted = f"{name}: coefficients must be a tuple of an odd number, symmetric, with sum 1 at odd and at even places"
    wanted += f", such as kernels.MCLACHLAN or kernels.LEAPFROG; got {coefficients!r}"
    if not isinstance(coefficients, tuple) or not all(isinstance(c, Real) for c in coefficients):
        raise ValueError(wanted)
    sums = sum(coefficients[::2]), sum(coefficients[1::2])
    ends = zip(coefficients, reversed(coefficients), strict=True)
    if len(coefficients) % 2 == 0 or max(abs(s - 1.0) for s in sums) > 1e-6 or any(abs(a - b) > 1e-9 for a, b in ends):
        raise ValueError(wanted)


def turn(u: Tensor, g: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """B(step ``[chain, 1]``): the new velocity and the change of kinetic energy ``[chain]``; e^−δ cannot overflow."""
    d = u.shape[-1]
    norm = g.square().sum(-1, keepdim=True).sqrt()
    e = g / norm.clamp(min=torch.finfo(g.dtype).tiny)
    delta = step * norm / (d - 1)
    along = (e * u).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    zeta = torch.exp(-delta)
    new = e * ((1 - zeta) * (1 + zeta + along * (1 - zeta))) + 2 * zeta * u
    kinetic = (d - 1) * (delta - math.log(2.0) + torch.log1p(along + (1 - along) * zeta.square()))
    return unit(new), kinetic.squeeze(-1)


def unit(u: Tensor) -> Tensor:
    """Every row scaled to length one."""
    return u / u.square().sum(-1, keepdim=True).sqrt()


def trajectory(
    log_joint: LogJointFn, scale: Tensor, step: Tensor, point: Point, coefficients: tuple[float, ...]
) -> tuple[Point, Tensor]:
    """One step of size ``step [chain, 1]`` in units of ``scale [chain, dim]``: the new point and its energy error."""
    x, u, start, gradient = point
    value, kinetic = start, torch.zeros_like(start)
    for i, c in enumerate(coefficients):
        if i % 2 == 0:
            u, change = turn(u, scale * gradient, c * step)
            kinetic = kinetic + change
        else:
            x = x + c * step * scale * u
            value, gradient = log_joint(x)
    return (x, u, value, gradient), kinetic - (value - start)
