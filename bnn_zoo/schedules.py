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


@dataclass(frozen=True)
class cyclical:
    """``cycles`` times from ``start`` along half a cosine towards 0: ``start/2 (cos(π (t mod C) / C) + 1)`` with
    ``C = ⌈steps / cycles⌉``. Zhang et al. 2020 (cyclical SG-MCMC), eq. 1.

    Each cycle's large steps leave the mode, its small ones sample where they have come. A backend fills in ``steps``.
    """

    start: float
    cycles: int = 4
    steps: int | None = None

    def __call__(self, step: int) -> float:
        return 0.5 * self.start * (math.cos(math.pi * _part(self, step)) + 1.0)

    def over(self, steps: int) -> cyclical:
        return self if self.steps else cyclical(self.start, self.cycles, steps)


@dataclass(frozen=True)
class exploring:
    """A temperature for ``cyclical`` steps: 0 for the first ``share`` of each cycle, then ``temperature``.

    Zhang et al. 2020, algorithm 1: exploration by plain SGD, then sampling. Backends keep no draw while it is 0.
    """

    cycles: int = 4
    share: float = 0.5
    temperature: float = 1.0
    steps: int | None = None

    def __call__(self, step: int) -> float:
        return self.temperature if _part(self, step) >= self.share else 0.0

    def over(self, steps: int) -> exploring:
        return self if self.steps else exploring(self.cycles, self.share, self.temperature, steps)


def _part(schedule: cyclical | exploring, step: int) -> float:
    """How much of its cycle step t has behind it, in [0, 1)."""
    if schedule.steps is None:
        name = type(schedule).__name__
        raise ValueError(f"{name} needs its number of steps: write {name}(…, steps=10_000)")
    cycle = -(-schedule.steps // schedule.cycles)
    return step % cycle / cycle


def as_schedule(value: float | Schedule, steps: int) -> Schedule:
    """A number becomes a constant schedule; one of a given shape without a length runs over ``steps``."""
    if isinstance(value, cosine | cyclical | exploring):
        return value.over(steps)
    return value if callable(value) else constant(float(value))
