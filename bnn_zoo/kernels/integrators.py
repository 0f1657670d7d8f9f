"""Symplectic integrators for H(q, p) = −log p(q) + pᵀ M⁻¹ p / 2."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any

from torch import Tensor

from ..types import Inlining, LogJointFn
from .metric import Metric

Phase = tuple[Tensor, Tensor, Tensor, Tensor]
"""``(q [chain, dim], p [chain, dim], log joint [chain], its gradient [chain, dim])``."""


def inline(log_joint: LogJointFn, f: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """``f(log_joint, *tensors)`` as a function of the tensors: one graph, where the log joint can take f into its own."""
    taker: Any = log_joint
    kind: Any = type(log_joint)
    return taker.inline(f) if _inlines(kind) else partial(f, log_joint)


@cache
def _inlines(kind: Hashable) -> bool:
    return isinstance(kind, type) and issubclass(kind, Inlining)


@cache
def one_step(metric: type) -> Callable[..., Phase]:
    """One leapfrog step as a function of tensors: ``(log_joint, *metric, step [chain, 1], q, p, gradient) -> Phase``.

    p ← p + ε/2 ∇log p(q);  q ← q + ε M⁻¹ p;  p ← p + ε/2 ∇log p(q)
    """

    def leap(log_joint: LogJointFn, *tensors: Tensor) -> Phase:
        *parts, step, q, p, gradient = tensors
        p = p + 0.5 * step * gradient
        q = q + step * metric(*parts).velocity(p)
        value, gradient = log_joint(q)
        return q, p + 0.5 * step * gradient, value, gradient

    return leap


def leapfrog(log_joint: LogJointFn, metric: Metric, step: Tensor, phase: Phase, count: int = 1) -> Phase:
    """``count`` leapfrog steps of size ``step [chain, 1]`` (negative: back in time). Neal 2011, eq. 5.18–5.20."""
    leap = inline(log_joint, one_step(type(metric)))
    q, p, value, gradient = phase
    for _ in range(count):
        q, p, value, gradient = leap(*metric, step, q, p, gradient)
    return q, p, value, gradient
