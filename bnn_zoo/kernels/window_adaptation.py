"""Warm-up of the samplers on Hamiltonian phase space, as a kernel around theirs: step size and mass matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from .._ranks import ALONE, Pool
from .._tree import node
from ..types import LogJointFn, Randomness
from .adaptation import EARLY, DualAveraging, early_windows, reasonable_step_size, windows
from .hmc import Dynamics
from .mass import MassMatrix


@node
class WindowState(NamedTuple):
    """State and parameters of the kernel inside, and what the tuning has seen, which a step changes in place."""

    inner: Any
    parameters: Dynamics
    stepper: DualAveraging
    seen: Any
    step: int

    @property
    def position(self) -> Tensor:
        position: Tensor = self.inner.position
        return position


def as_it_is(target: LogJointFn, state: Any, metric: Any, guess: Tensor, random: Randomness) -> Tensor:
    """For kernels whose step size is 1 with the right mass matrix."""
    return guess


def each_rate(rate: Tensor) -> Tensor:
    """Acceptance rates ``[chain]`` as they are."""
    return rate


def laid_out(metric: Any) -> Any:
    """The metric with its tensors chain by chain and row by row, as a run that is taken up again reads them: products of a
    matrix stored by columns, or shared by chains, may have other last bits."""
    return type(metric)(*(part.contiguous() for part in metric))


@dataclass(frozen=True)
class WindowAdaptation:
    """``kernel`` with the parameters ``Dynamics`` that ``warmup`` steps of ``warming`` find; then they stay.

    The step size by dual averaging towards the acceptance rate ``target_accept``; the mass matrix anew at the ends of
    growing windows, as in Stan, each time with a step size from ``first``. ``rates`` says what the step size is tuned to.
    Where the mass matrix has a rule for ``early`` windows, it is renewed by that four times before Stan's first window, and
    up to the first of these ``opening``, if any, steps in place of ``warming``.
    Parameters of a step, if any, come after the kernel's metric and step size. Where the mass matrix is ``pooled`` all is
    tuned to the chains of ``pool``, of which those here may be a part.
    """

    kernel: Any
    warming: Any
    warmup: int
    target_accept: float
    mass_matrix: MassMatrix
    step_size: float | None = None
    opening: Any = None
    first: Callable[..., Tensor] = reasonable_step_size
    rates: Callable[[Tensor], Tensor] = each_rate
    pool: Pool = ALONE

    @property
    def _pool(self) -> Pool:
        return self.pool if self.mass_matrix.pooled else ALONE

    @property
    def _early(self) -> MassMatrix | None:
        rule: MassMatrix | None = getattr(self.mass_matrix, "early", None)
        return rule if early_windows(self.warmup) else None

    def _window(self, step: int) -> tuple[MassMatrix | None, list[int]]:
        """The rule that looks at the transition of this number, from 1, if any; and the ends of its windows."""
        if self._early is not None and step <= EARLY[-1]:
            return self._early, early_windows(self.warmup)
        ends, begin = windows(self.warmup), 75 if self.warmup >= 150 else int(0.15 * self.warmup)
        return (self.mass_matrix, ends) if ends and begin < step <= ends[-1] else (None, [])

    def _warming(self, step: int) -> Any:
        """The kernel of a warm-up transition of this number, from 0."""
        return self.opening if self.opening is not None and self._early is not None and step < EARLY[0] else self.warming

    def init(self, position: Tensor, target: LogJointFn, random: Randomness) -> WindowState:
        mass, inner = self.mass_matrix, self.kernel.init(position, target, random)
        metric, guess = laid_out(mass.start(position)), position.new_full((len(position),), self.step_size or 0.1)
        stepper = DualAveraging(self.target_accept, pooled=mass.pooled)
        first = guess if self.step_size else self.first(target, inner, metric, guess, random)
        stepper.restart(self._pool.every(first))
        step_size = stepper.step_size if self.warmup else stepper.final
        seen = (self._window(1)[0] or mass).estimator()
        return WindowState(inner, Dynamics(metric, self._pool.own(step_size)), stepper, seen, 0)

    def step(self, target: LogJointFn, state: WindowState, parameters: Any, random: Randomness) -> tuple[WindowState, Any]:
        warming = state.step < self.warmup
        kernel = self._warming(state.step) if warming else self.kernel
        inner, info = kernel.step(target, state.inner, (*state.parameters, *(parameters or ())), random)
        state = state._replace(inner=inner, step=state.step + 1)
        return (self._tuned(target, state, info, random) if warming else state), info

    def _tuned(self, target: LogJointFn, state: WindowState, info: Any, random: Randomness) -> WindowState:
        """After ``state.step`` transitions, the last of which gave ``info``."""
        (metric, step_size), stepper, seen, pool = state.parameters, state.stepper, state.seen, self._pool
        stepper.update(self.rates(pool.every(info.acceptance_rate)).to(step_size))
        rule, ends = self._window(state.step)
        if rule is not None:
            seen.update(state.inner.position, state.inner.gradient)
        if rule is not None and state.step in ends:
            estimate: Any = rule.estimate(pool.tree(seen))
            following = self._window(state.step + 1)[0] or self.mass_matrix
            metric, seen = laid_out(type(estimate)(*map(pool.own, estimate))), following.estimator()
            stepper.restart(pool.every(self.first(target, state.inner, metric, pool.own(stepper.final), random)))
        step_size = pool.own(stepper.final if state.step == self.warmup else stepper.step_size)
        return state._replace(parameters=Dynamics(metric, step_size), seen=seen)
