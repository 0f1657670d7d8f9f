"""What a prior's scale may be: a number, a rule of the weight's shape, or a prior itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution


@dataclass(frozen=True)
class Law:
    """Base of the priors that are one law with a scale. The scale is a number > 0, a rule, or a prior.

    A rule is any function of the weight's shape, such as ``fan_in``. A prior (or a Pyro distribution) makes the model
    hierarchical: the weight's scale is sampled at the site ``"<weight>_scale"``, one scale for the whole tensor.
    """

    scale: Any = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.scale, float | int) and not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"{type(self).__name__}: the scale must be a finite number > 0, got {self.scale}")
        if isinstance(self.scale, type) or not (isinstance(self.scale, Real | Distribution) or callable(self.scale)):
            raise TypeError(
                f"{type(self).__name__}: the scale must be a number, a rule such as fan_in, or a prior such as "
                f"HalfCauchy(1.0); got {self.scale!r}"
            )

    def __call__(self, name: str, shape: torch.Size) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(getattr(self, f.name), '__name__', getattr(self, f.name))}" for f in fields(self))
        return f"{type(self).__name__}({', '.join(shown)})"

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Law.__repr__  # type: ignore[method-assign]  # before @dataclass would write one that shows a rule's address


def fan_in(shape: torch.Size) -> float:
    """1/√(inputs of one unit): unit variance in, unit variance out. Neal 1996, section 2.1.

    ``[out, in] → in``, ``[out, in, kh, kw] → in·kh·kw``; a bias ``[out]`` multiplies one constant input, so 1.
    """
    return math.prod(shape[1:]) ** -0.5


def resolve(scale: float | Callable[[torch.Size], float] | Law | Distribution, name: str, shape: torch.Size) -> Any:
    """The scale of weight ``name`` as a number, or as a 0-dim tensor sampled at ``"<name>_scale"``."""
    if isinstance(scale, Law):
        return pyro.sample(f"{name}_scale", scale(f"{name}_scale", torch.Size()))
    if isinstance(scale, Distribution):
        return pyro.sample(f"{name}_scale", scale)
    value = scale(shape) if callable(scale) else scale
    if not isinstance(value, Real | Tensor):
        raise TypeError(f"the scale rule of {name!r} must return a number, got {type(value).__name__}")
    return value
