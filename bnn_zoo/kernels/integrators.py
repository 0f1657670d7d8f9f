"""Symplectic integrators for H(q, p) = −log p(q) + pᵀ M⁻¹ p / 2."""

from __future__ import annotations

from torch import Tensor

from ..types import LogJointFn
from .metric import Metric

Phase = tuple[Tensor, Tensor, Tensor, Tensor]
"""``(q [chain, dim], p [chain, dim], log joint [chain], its gradient [chain, dim])``."""


def leapfrog(log_joint: LogJointFn, metric: Metric, step: Tensor, phase: Phase, count: int = 1) -> Phase:
    """``count`` leapfrog steps of size ``step [chain, 1]`` (negative: back in time). Neal 2011, eq. 5.18–5.20.

        p ← p + ε/2 ∇log p(q);  q ← q + ε M⁻¹ p;  p ← p + ε/2 ∇log p(q)

    The half steps of p between two steps of q are done as one.
    """
    q, p, value, gradient = phase
    p = p.addcmul(step, gradient, value=0.5)
    for i in range(count):
        q = q.addcmul(step, metric.velocity(p))
        value, gradient = log_joint(q)
        p = p.addcmul(step, gradient, value=1.0 if i + 1 < count else 0.5)
    return q, p, value, gradient
