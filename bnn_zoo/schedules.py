"""Step sizes and temperatures as functions of the step, counted from 0 (``types.Schedule``).

Each is a small frozen object rather than a lambda, so that settings print, compare and pickle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .types import Schedule


@dataclass(frozen=True)
class constant:
    """The same value at every step."""

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class cosine:
    """From ``start`` down to ``end`` along half a cosine over ``steps`` steps, then ``end`` for good.

    ``start · (r + (1 − r)(1 + cos(π t / steps))/2)`` with ``r = end / start``. Loshchilov & Hutter 2017, eq. 5.
    A backend fills in ``steps`` with its own number of steps where it is None.
    """

    start: float
    end: float | None = None
    steps: int | None = None

    def __call__(self, step: int) -> float:
        if self.steps is None:
            raise ValueError("cosine needs its number of steps: write cosine(1e-3, steps=10_000)")
        end = 0.01 * self.start if self.end is None else self.end
        t = min(step / self.steps, 1.0)
        return end + (self.start - end) * 0.5 * (1.0 + math.cos(math.pi * t))

    def over(self, steps: int) -> cosine:
        return self if self.steps else cosine(self.start, self.end, steps)


@dataclass(frozen=True)
class polynomial:
    """``a (b + t)^−γ``: with γ in (0.5, 1] the decay of Welling & Teh 2011, section 2."""

    a: float
    b: float = 1.0
    gamma: float = 0.55

    def __call__(self, step: int) -> float:
        return self.a * (self.b + step) ** -self.gamma


def as_schedule(value: float | Schedule, steps: int) -> Schedule:
    """A number becomes a constant schedule; a cosine without a length runs over ``steps``."""
    if isinstance(value, cosine):
        return value.over(steps)
    return value if callable(value) else constant(float(value))
