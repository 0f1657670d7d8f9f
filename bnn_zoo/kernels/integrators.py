"""Symplectic integrators for H(q, p) = −log p(q) + pᵀ M⁻¹ p / 2."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any

import torch
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


def is_plain(step: Callable[..., tuple[Tensor, ...]]) -> bool:
    """Whether what ``inline`` gave is f as it is, and not a graph made for the shapes of its inputs."""
    return isinstance(step, partial)


def bind(step: Callable[..., tuple[Tensor, ...]], *first: Tensor) -> Callable[..., tuple[Tensor, ...]]:
    """What ``inline`` gave with its first inputs held, for many calls whose other inputs are of one shape and dtype."""
    whole: Any = step
    return partial(step, *first) if is_plain(step) else whole.bind(*first)


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


@cache
def several(metric: type, count: int) -> Callable[..., Phase]:
    """The first ``limit`` of ``count`` steps: ``(log_joint, *metric, step, limit [1], q, p, gradient) -> Phase``."""
    leap = one_step(metric)

    def leaps(log_joint: LogJointFn, *tensors: Tensor) -> Phase:
        *parts, step, limit, q, p, gradient = tensors
        phase = leap(log_joint, *parts, step, q, p, gradient)
        for i in range(1, count):
            q, p, _, gradient = phase
            phase = select(i < limit, leap(log_joint, *parts, step, q, p, gradient), phase)
        return phase

    return leaps


def select(mask: Tensor, new: Phase, old: Phase) -> Phase:
    """Phase points of ``new`` for the chains in ``mask [chain]`` (``[1]``: all or none), of ``old`` for the others."""
    rows = mask.unsqueeze(-1)
    q, p, value, gradient = (torch.where(mask if b.dim() == 1 else rows, a, b) for a, b in zip(new, old, strict=True))
    return q, p, value, gradient


def unroll(log_joint: LogJointFn, chains: int) -> int:
    """How many steps the log joint wants in one of its graphs; 1 for a plain function."""
    kind: Any = type(log_joint)
    taker: Any = log_joint
    return taker.unroll(chains) if _inlines(kind) else 1


@cache
def limit_of(count: int, device: torch.device) -> Tensor:
    """A count as a tensor ``[1]``, for graphs that make fewer steps than they have."""
    return torch.tensor([count], device=device)


@cache
def whole_step(metric: type) -> Callable[..., Phase]:
    """One leapfrog step from a phase point to the next: ``(log_joint, *metric, step [chain, 1], *phase) -> Phase``."""
    leap = one_step(metric)

    def step(log_joint: LogJointFn, *tensors: Tensor) -> Phase:
        *held, q, p, _, gradient = tensors
        return leap(log_joint, *held, q, p, gradient)

    return step


def in_one_call(
    log_joint: LogJointFn, f: Callable[..., Any], held: tuple[Tensor, ...], state: tuple[Tensor, ...], count: int = 1
) -> tuple[Tensor, ...] | None:
    """``count`` times ``state = f(log_joint, *held, *state)``, where the log joint makes that one call; else None. Without a
    state, ``f(log_joint, *held)``.

    All tensors are ``[chain, …]``, and what becomes of a chain depends on no other.
    """
    whole: Any = inline(log_joint, f)
    made: tuple[Tensor, ...] | None = None if is_plain(whole) else whole.repeat(held, state, count)
    return made


def for_each_chain(log_joint: LogJointFn, f: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, ...]:
    """``f(log_joint, *tensors)``, in one call where the log joint makes it so; of each chain of ``[chain, …]`` by itself."""
    made = in_one_call(log_joint, f, tensors, ())
    outputs: tuple[Tensor, ...] = f(log_joint, *tensors) if made is None else made
    return outputs


def repeated(
    log_joint: LogJointFn, f: Callable[..., Any], held: tuple[Tensor, ...], state: tuple[Tensor, ...], count: int
) -> tuple[Tensor, ...]:
    """``count`` times ``state = f(log_joint, *held, *state)``, as ``in_one_call`` or call by call."""
    made = in_one_call(log_joint, f, held, state, count)
    if made is not None:
        return made
    step = bind(inline(log_joint, f), *held)
    for _ in range(count):
        state = step(*state)
    return state


def leapfrog(log_joint: LogJointFn, metric: Metric, step: Tensor, phase: Phase, count: int = 1) -> Phase:
    """``count`` leapfrog steps of size ``step [chain, 1]`` (negative: back in time). Neal 2011, eq. 5.18–5.20."""
    looped = in_one_call(log_joint, whole_step(type(metric)), (*metric, step), phase, count)
    if looped is not None:
        q, p, value, gradient = looped
        return q, p, value, gradient
    q, p, value, gradient = phase
    at_once = unroll(log_joint, len(q))
    if at_once == 1:
        leap = bind(inline(log_joint, one_step(type(metric))), *metric, step)
        for _ in range(count):
            q, p, value, gradient = leap(q, p, gradient)
        return q, p, value, gradient
    leaps = inline(log_joint, several(type(metric), at_once))
    for done in range(0, count, at_once):
        limit = limit_of(min(at_once, count - done), q.device)
        q, p, value, gradient = leaps(*metric, step, limit, q, p, gradient)
    return q, p, value, gradient
