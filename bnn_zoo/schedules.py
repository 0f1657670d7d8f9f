"""Step sizes and temperatures as functions of the step, counted from 0 (``types.Schedule``).

Each is a small frozen object rather than a lambda, so that settings print, compare and pickle. ``check()`` raises where its
numbers make no sense; a backend calls it when it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from .types import Schedule

MOST = 200_000
"""Steps at which a schedule is looked at before a run: of longer ones as many, evenly spaced, and the last."""


@dataclass(frozen=True)
class constant:
    """The same value at every step."""

    value: float

    def check(self) -> None:
        _numbers(self, value=0.0)

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

    def check(self) -> None:
        _positive(self, "start")
        if self.end is not None:
            _numbers(self, end=0.0)
        _counts(self, "steps")

    def __call__(self, step: int) -> float:
        if self.steps is None:
            raise ValueError("cosine needs its number of steps: write cosine(1e-3, steps=10_000)")
        end = 0.01 * self.start if self.end is None else self.end
        t = min(step / self.steps, 1.0)
        return end + (self.start - end) * 0.5 * (1.0 + math.cos(math.pi * t))

    def over(self, steps: int) -> cosine:
        return self if self.steps is not None else cosine(self.start, self.end, steps)


@dataclass(frozen=True)
class polynomial:
    """``a (b + t)^−γ``: with γ in (0.5, 1] the decay of Welling & Teh 2011, section 2."""

    a: float
    b: float = 1.0
    gamma: float = 0.55

    def check(self) -> None:
        _positive(self, "a", "b")
        _numbers(self, gamma=0.0)

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

    def check(self) -> None:
        _positive(self, "start")
        _counts(self, "cycles", "steps")
        _room_for_cycles(self)

    def __call__(self, step: int) -> float:
        return 0.5 * self.start * (math.cos(math.pi * _part(self, step)) + 1.0)

    def over(self, steps: int) -> cyclical:
        return self if self.steps is not None else cyclical(self.start, self.cycles, steps)


@dataclass(frozen=True)
class exploring:
    """A temperature for ``cyclical`` steps: 0 for the first ``share`` of each cycle, then ``temperature``.

    Zhang et al. 2020, algorithm 1: exploration by plain SGD, then sampling. Backends keep no draw while it is 0.
    """

    cycles: int = 4
    share: float = 0.5
    temperature: float = 1.0
    steps: int | None = None

    def check(self) -> None:
        _positive(self, "temperature")
        _numbers(self, share=0.0)
        if not self.share < 1.0:
            raise ValueError(f"exploring: share must be below 1, got {self.share}: no step would be left for draws")
        _counts(self, "cycles", "steps")
        _room_for_cycles(self)

    def __call__(self, step: int) -> float:
        return self.temperature if _part(self, step) >= self.share else 0.0

    def over(self, steps: int) -> exploring:
        return self if self.steps is not None else exploring(self.cycles, self.share, self.temperature, steps)


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


@dataclass(frozen=True)
class Checked:
    """A schedule whose values are looked at: ``what`` gives them, and each must be a number > 0, or ≥ 0 with ``zero``."""

    schedule: Schedule
    what: str
    zero: bool = False

    def __call__(self, step: int) -> float:
        value = self.schedule(step)
        if type(value) is not float:
            value = self._number(value, step)
        if not (0.0 < value < math.inf or (self.zero and value == 0.0)):
            raise ValueError(f"{self.what} must be {self._wanted} at every step, got {value} at step {step}")
        return value

    @property
    def _wanted(self) -> str:
        return "a finite number of at least 0" if self.zero else "a positive finite number"

    def _number(self, value: Any, step: int) -> float:
        one = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(one, bool) or not isinstance(one, Real):
            raise TypeError(f"{self.what} must be {self._wanted} at every step, got {value!r} at step {step}")
        return float(one)

    def check(self, steps: int) -> None:
        """Raise TypeError or ValueError unless it gives a sensible number at (at most ``MOST`` of) so many steps."""
        most = MOST
        if isinstance(self.schedule, constant | cosine | polynomial | cyclical | exploring):
            self.schedule.check()
            most = 3
        every = max(1, steps // most)
        for step in (*range(0, steps, every), steps - 1):
            try:
                self(step)
            except (LookupError, ArithmeticError, AttributeError) as error:
                raise ValueError(
                    f"{self.what} must be a schedule of all {steps} steps, fails at step {step}: {error!r}"
                ) from error


def checked(value: float | Schedule, steps: int, what: str, *, zero: bool = False) -> Checked:
    """``as_schedule`` whose values are looked at whenever it is called."""
    return Checked(as_schedule(value, steps), what, zero)


def _numbers(schedule: Any, **bounds: float) -> None:
    for name, bound in bounds.items():
        value = getattr(schedule, name)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{type(schedule).__name__}: {name} must be a number, got {value!r}")
        if not (float(value) >= bound and math.isfinite(value)):
            raise ValueError(f"{type(schedule).__name__}: {name} must be finite and at least {bound:g}, got {value}")


def _positive(schedule: Any, *names: str) -> None:
    _numbers(schedule, **dict.fromkeys(names, 0.0))
    for name in names:
        if not getattr(schedule, name) > 0:
            raise ValueError(f"{type(schedule).__name__}: {name} must be positive, got {getattr(schedule, name)}")


def _counts(schedule: Any, *names: str) -> None:
    """Whole numbers of at least 1; ``steps`` may be None, and is then the backend's."""
    for name in names:
        value = getattr(schedule, name)
        if name == "steps" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{type(schedule).__name__}: {name} must be a whole number, got {value!r}")
        if value < 1:
            raise ValueError(f"{type(schedule).__name__}: {name} must be at least 1, got {value}")


def _room_for_cycles(schedule: cyclical | exploring) -> None:
    if schedule.steps is not None and schedule.cycles > schedule.steps:
        name = type(schedule).__name__
        raise ValueError(f"{name}: {schedule.steps} steps have no room for cycles={schedule.cycles}: at most one a step")
