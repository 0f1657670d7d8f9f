"""Checks of a backend's settings when it is made: each error names the setting, what is taken, and what came.

``None`` is taken where a setting's type says so. Numbers of any library are taken, and kept as Python's own.
"""

from __future__ import annotations

import inspect
import math
import operator
from contextlib import AbstractContextManager
from dataclasses import MISSING, fields
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..density import FromPosterior, LogJoint, need_positions
from ..schedules import Checked, checked, cyclical, exploring
from ..types import Fitted


def at_least(settings: Any, **bounds: float) -> None:
    """Raise unless each named setting is at least its bound, and whole where the bound is: ``at_least(self, chains=1)``."""
    for name, bound in bounds.items():
        whole = isinstance(bound, int)
        kind = f"a {'whole ' if whole else ''}number of at least {bound}"
        value = _given(settings, name, kind)
        if value is None:
            continue
        number = _whole(value) if whole else plain_number(value)
        if number is None:
            raise TypeError(f"{_name(settings)}: {name} must be {kind}, got {value!r}")
        if not number >= bound:
            raise ValueError(f"{_name(settings)}: {name} must be at least {bound}, got {value}")
        object.__setattr__(settings, name, number)


def within(settings: Any, **bounds: tuple[float, float]) -> None:
    """Raise unless each named setting is a number strictly inside its bounds."""
    for name, (low, high) in bounds.items():
        _between(settings, name, low, high, closed=False)


def share(settings: Any, *names: str) -> None:
    """Raise unless each named setting is a number of at least 0 and below 1."""
    for name in names:
        _between(settings, name, 0.0, 1.0, closed=True)


def _between(settings: Any, name: str, low: float, high: float, *, closed: bool) -> None:
    said = f"at least {low:g} and below {high:g}" if closed else f"between {low} and {high}"
    value = _given(settings, name, f"a number {said}")
    if value is None:
        return
    number = plain_number(value)
    if number is None:
        tuned = ": a schedule of steps is for stochastic-gradient backends" if callable(value) else ""
        raise TypeError(f"{_name(settings)}: {name} must be a number {said}, got {value!r}{tuned}")
    if not (low < number < high or (closed and number == low)):
        raise ValueError(f"{_name(settings)}: {name} must be {said}, got {value}")
    object.__setattr__(settings, name, number)


def flags(settings: Any, *names: str, none: bool = False) -> None:
    """Raise TypeError unless each named setting is True or False, or with ``none`` None."""
    for name in names:
        value = getattr(settings, name)
        if none and value is None:
            continue
        if not isinstance(value, bool | np.bool_):
            raise TypeError(
                f"{_name(settings)}: {name} must be True{', False or None' if none else ' or False'}, got {value!r}"
            )
        object.__setattr__(settings, name, bool(value))


def scheduled(settings: Any, name: str, *, zero: bool = False) -> None:
    """Raise unless the setting is a number > 0 (or ≥ 0, with ``zero``), or a schedule that gives one at every step."""
    value = getattr(settings, name)
    number = plain_number(value)
    low = f"{'at least' if zero else 'between'} 0.0{'' if zero else ' and inf'}"
    if number is None and (isinstance(value, type) or not callable(value)):
        said = f"write {value.__name__}(…)" if isinstance(value, type) else "such as 1e-4 or schedules.cosine(1e-4)"
        raise TypeError(f"{_name(settings)}: {name} must be a number {low} or a schedule, got {value!r}: {said}")
    if number is not None:
        if not ((number > 0 or (zero and number == 0)) and math.isfinite(number)):
            raise ValueError(f"{_name(settings)}: {name} must be {low}, got {value}")
        object.__setattr__(settings, name, number)
        return
    schedule_of(settings, name, zero=zero).check(settings.steps)


def schedule_of(settings: Any, name: str, *, zero: bool = False) -> Checked:
    """The setting as a function of the step, over all ``settings.steps``; it raises where it gives no sensible number."""
    return checked(getattr(settings, name), settings.steps, f"{_name(settings)}: {name}", zero=zero)


def same_cycles(step_size: Any, temperature: Any, name: str) -> None:
    """Raise ValueError where steps and temperature both go in cycles, and not in the same."""
    if isinstance(step_size, cyclical) and isinstance(temperature, exploring):
        a, b = ((each.cycles, each.steps) for each in (step_size, temperature))
        if a != b:
            raise ValueError(f"{name}: step_size and temperature must have the same cycles and steps, got {a} and {b}")


def start_rule(settings: Any) -> None:
    """Raise TypeError unless ``init`` is a function of the log joint, and no class, network, name or tensor. A posterior
    becomes such a function."""
    init = settings.init
    if isinstance(init, Fitted) and not isinstance(init, type):
        object.__setattr__(settings, "init", FromPosterior(init))
        return
    wanted = (
        f"{_name(settings)}: init must be a function (log_joint, chains, generator) -> positions [chain, dim], such as "
        "density.BestOf(), density.from_prior, density.from_support or density.Adam(), or a posterior to start from"
    )
    if isinstance(init, torch.nn.Module):
        raise TypeError(f"{wanted}; got the network {type(init).__name__}: write init=density.FromNet(net)")
    if isinstance(init, type):
        raise TypeError(f"{wanted}; got the class {init.__name__}: write init={init.__name__}(…)")
    if not callable(init):
        raise TypeError(f"{wanted}; got {init!r}")


def start_of(settings: Any, log_joint: LogJoint, generator: torch.Generator, chains: int | None = None) -> Tensor:
    """The starting points that ``settings.init`` gives, finite ``[chain, dim]``; raises ValueError for anything else."""
    chains = chains or settings.chains
    start = settings.init(log_joint, chains, generator)
    shape = (chains, log_joint.dim)
    if not isinstance(start, Tensor) or start.shape != shape or not start.is_floating_point():
        what = f"{start.dtype} {tuple(start.shape)}" if isinstance(start, Tensor) else type(start).__name__
        raise ValueError(
            f"{_name(settings)}: init must give floating positions [chain, dim] = {shape}, got {what}; "
            "log_joint.unconstrain({site: values [chain, …]}) makes them"
        )
    start = start.detach().to(log_joint.device, log_joint.dtype)
    need_positions(start, settings.init, log_joint)
    return start


def names(settings: Any, name: str) -> None:
    """Raise TypeError unless the setting is a tuple or list of texts: one text alone would be taken letter by letter."""
    value = _given(settings, name, "a tuple of names")
    if value is None:
        return
    if isinstance(value, str) or not isinstance(value, tuple | list) or not all(isinstance(v, str) for v in value):
        said = f": write ({value!r},)" if isinstance(value, str) else ""
        raise TypeError(f"{_name(settings)}: {name} must be a tuple of names or patterns, got {value!r}{said}")
    object.__setattr__(settings, name, tuple(value))


def scope_maker(settings: Any, name: str) -> None:
    """Raise TypeError unless the setting, called without arguments, makes a context manager anew for each step."""
    value = getattr(settings, name)
    if isinstance(value, AbstractContextManager):
        kind = type(value).__name__
        raise TypeError(f"{_name(settings)}: {name} must make a context manager, got one: write {name}={kind}, without ()")
    if not callable(value):
        raise TypeError(
            f"{_name(settings)}: {name} must be a class or function that makes a context manager, such as "
            f"handlers.LocalReparameterization, got {value!r}"
        )


def optimiser(settings: Any, name: str) -> None:
    """Raise TypeError unless the setting makes an optimiser of torch: a class or a partial of one, not an optimiser."""
    made = getattr(settings, name)
    if isinstance(made, torch.optim.Optimizer) or not callable(made):
        raise TypeError(
            f"{_name(settings)}: {name} must be a class of torch.optim, such as torch.optim.Adam, or a functools.partial of "
            f"one; got {made!r}"
        )


def guide_family(settings: Any, name: str) -> None:
    """Raise TypeError unless the setting can be called as ``guide(model, init_loc_fn=…)``."""
    value = getattr(settings, name)
    wanted = f"{_name(settings)}: {name} must be a family, called as {name}(model, init_loc_fn=…), such as "
    wanted += "pyro.infer.autoguide.AutoNormal"
    if isinstance(value, torch.nn.Module):
        raise TypeError(f"{wanted}; got an instance, which belongs to one model: write {name}={type(value).__name__}")
    if not callable(value):
        raise TypeError(f"{wanted}; got {value!r}")
    taken = inspect.signature(value).parameters
    if "init_loc_fn" not in taken and all(p.kind is not p.VAR_KEYWORD for p in taken.values()):
        raise TypeError(f"{wanted}; got {getattr(value, '__name__', value)}, which takes ({', '.join(taken)})")


def plain_number(value: Any) -> float | None:
    """``value`` as a float where it is one real number of Python, numpy or torch; else None."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_) or (isinstance(value, Tensor) and value.dtype == torch.bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _given(settings: Any, name: str, kind: str) -> Any:
    """The setting's value; raises TypeError where it is None and its type does not say that it may be."""
    value = getattr(settings, name)
    field = next(f for f in fields(settings) if f.name == name)
    if value is None and "None" not in str(field.type):
        default = f": leave it out for {field.default!r}" if field.default is not MISSING else ""
        raise TypeError(f"{_name(settings)}: {name} must be {kind}, got None{default}")
    return value


def _name(settings: Any) -> str:
    return type(settings).__name__
