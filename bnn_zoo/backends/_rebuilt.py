"""A backend made again from what its run's folder says of it, or one that makes more draws; nothing is evaluated."""

from __future__ import annotations

import ast
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from .. import density, guides, handlers, schedules
from ..catalogue import of
from ..kernels import low_rank, mass
from ._chains import FullBatch
from ._kept import plain
from ._stochastic import StochasticGradient


def _classes(*rooms: Any) -> dict[str, Any]:
    found = (item for room in rooms for item in vars(room).items())
    return {name: value for name, value in found if isinstance(value, type) and not name.startswith("_")}


CALLS: dict[str, Any] = {name: value for name, value in _classes(schedules, mass, low_rank).items() if is_dataclass(value)}
CALLS |= {"BestOf": density.BestOf, "Adam": density.Adam}
"""Dataclasses of the library whose texts are calls that make them."""
NAMES: dict[str, Any] = (
    _classes(guides, handlers, torch.optim)
    | {"from_prior": density.from_prior, "from_support": density.from_support}
    | {"inf": float("inf"), "nan": float("nan")}
)
"""Functions, classes and numbers that stand in settings by their name."""


class _Unknown(ValueError):
    pass


def rebuilt(about: dict[str, Any]) -> Any:
    """The backend of a run. Raises ValueError that names the settings which are no plain data, such as functions."""
    known, name = of("backend"), about["backend"]
    if name not in known:
        raise ValueError(f"the run's backend {name} is none of bnn_zoo: pass the one that it was begun with, backend=")
    made, lost = {}, []
    for field in fields(known[name].constructor):
        text = about["settings"].get(field.name)
        try:
            made[field.name] = field.default if plain(field.default) == text else _value(text)
        except (_Unknown, SyntaxError, TypeError, ValueError):
            lost.append(f"{field.name}={text!r}")
    backend = None if lost else known[name].constructor(**made)
    if backend is None or {f.name: plain(getattr(backend, f.name)) for f in fields(backend)} != about["settings"]:
        what = ", ".join(lost) or "these settings"
        raise ValueError(
            f"{name}: {what} cannot be made again from text: pass the backend that the run was begun with, "
            f"backend=bz.{name}(…)"
        )
    return backend


def _value(text: Any) -> Any:
    if isinstance(text, str):
        return _read(ast.parse(text, mode="eval").body)
    return tuple(text) if isinstance(text, list) else text


def _read(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(map(_read, items))
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords) if name in CALLS:
            return CALLS[name](**{word.arg: _read(word.value) for word in keywords if word.arg})
    raise _Unknown(ast.unparse(node))


def longer(backend: Any, draws: int) -> Any:
    """The settings of a run that had asked for so many more draws of each chain at once.

    Raises ValueError, with the reason, where such a run would have begun otherwise too.
    """
    name = type(backend).__name__
    if isinstance(backend, FullBatch):
        return replace(backend, draws=backend.draws + draws)
    if not isinstance(backend, StochasticGradient) or not backend.streams:
        raise ValueError(f"{name} makes its draws at the end of its steps, all at once: fit it anew with more")
    reasons = [f"{n} is a schedule over all steps" for n in ("step_size", "temperature") if callable(getattr(backend, n))]
    reasons += [f"{n}=None is a share of all steps" for n in ("warmup", "thinning") if getattr(backend, n) is None]
    if reasons:
        raise ValueError(f"{name}: a longer run would have been another one from its beginning, as {' and '.join(reasons)}")
    return replace(backend, steps=backend.burn_in + (backend.drawn + draws) * (backend.thinning or 1))
