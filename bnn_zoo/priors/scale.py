"""What a prior's scale may be: a number, a tensor, a rule of the weight's shape, or a prior itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from .. import laws
from ..laws import check_scale, moved
from ..types import CommonPrior, ModelError
from .groups import Groups
from .log_uniform import LogUniform


@dataclass(frozen=True)
class Law:
    """Base of the priors that are one law with a scale. The scale is a number > 0, a tensor, a rule, or a prior.

    A tensor has no dimension or the weight's shape: each weight its own scale. A rule is any function of the weight's shape
    that returns one of the others, such as ``fan_in``; also in the prior of a scale it is given the shape of the weight. A
    prior (or a Pyro distribution) makes the model hierarchical: the weight's scale is sampled at the site
    ``"<weight>_scale"``, one scale for the whole tensor, or one for each group of it with ``PerInput`` and ``PerUnit``.
    Under ``LogUniform``, which is on the whole real line, the scale is the absolute value. Tensors and distributions follow
    the data's device and dtype.
    """

    scale: Any = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.scale, Real | Tensor):
            check_scale(self.scale, f"{type(self).__name__}: the scale")
        elif isinstance(self.scale, type) or not (isinstance(self.scale, Distribution | Groups) or callable(self.scale)):
            raise TypeError(
                f"{type(self).__name__}: the scale must be a tensor, a number, a rule such as fan_in, or a prior such as "
                f"HalfCauchy(1.0); got {self.scale!r}"
            )

        elif isinstance(self.scale, CommonPrior):
            raise TypeError(
                f"{type(self).__name__}: what weights share is said around the prior and not in its scale: write "
                f"Shared({type(self).__name__}(…), 'net')"
            )

    def _need_positive(self, *names: str) -> None:
        """Raise ValueError unless these settings are finite numbers > 0."""
        for name in names:
            check_scale(getattr(self, name), f"{type(self).__name__}: {name}")

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


def he(shape: torch.Size) -> float:
    """√(2/inputs of one unit): keeps the variance of activations under ReLU. He, Zhang, Ren & Sun 2015."""
    return math.sqrt(2.0) * fan_in(shape)


def glorot(shape: torch.Size) -> float:
    """√(2/(inputs + outputs)), a compromise between activations and gradients. Glorot & Bengio 2010.

    ``[out, in, kh, kw] → (in + out)·kh·kw``; a bias ``[out]`` has one input.
    """
    inputs, outputs = math.prod(shape[1:]), shape[:1].numel() * math.prod(shape[2:])
    return math.sqrt(2.0 / (inputs + outputs))


def fan_in_plus_one(shape: torch.Size) -> float:
    """1/√(inputs of one unit + 1), the bias counted as an input. Hernández-Lobato & Adams 2015, section 2.

    They divide a unit's whole input by it. So it belongs to the weights alone: the rule of a bias would have to know how
    many inputs its layer has, so give it that number, as in ``{"0.bias": Normal((8 + 1) ** -0.5)}``.
    """
    return (math.prod(shape[1:]) + 1.0) ** -0.5


def resolve(
    scale: float | Callable[[torch.Size], Any] | Law | Groups | Distribution | Tensor, name: str, shape: torch.Size
) -> Any:
    """The scale of weight ``name`` as a number or a tensor; from a prior it is sampled at ``"<name>_scale"``.

    Tensors and laws go to torch's default device and dtype, which inside a model are those of the data. Raises ValueError
    where a tensor does not fit the weight's shape or a rule's numbers are not finite and > 0.
    """
    value = scale
    if callable(scale) and not isinstance(scale, Law | LogUniform | Distribution | Groups):
        value = scale(shape)
        if isinstance(value, Real | Tensor):
            check_scale(value, f"the scale that the rule gives {name!r}")
    site, device, dtype = f"{name}_scale", torch.get_default_device(), torch.get_default_dtype()
    if isinstance(value, Groups):
        value = at_weight(value.prior, shape)(site, value.shape(shape))
    elif isinstance(value, Law | LogUniform):
        value = at_weight(value, shape)(site, torch.Size())
    if isinstance(value, Distribution):
        value = _sampled(moved(value, device, dtype), site)
    if isinstance(value, Tensor):
        if not _fits(value.shape, shape):
            raise ValueError(
                f"the scale of {name!r} must be one number, or have the weight's shape {tuple(shape)}, got "
                f"{tuple(value.shape)}"
            )
        return value.to(device, dtype)
    if not isinstance(value, Real):
        raise TypeError(f"the scale rule of {name!r} must return a number, got {type(value).__name__}")
    return float(value)


def _sampled(law: Any, site: str) -> Tensor:
    """The scale at its site. Raises ModelError for a law that gives negative ones, unless it is that of |z|."""
    support, base = law.support, law
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, laws.LogUniform):
        return pyro.sample(site, law).abs()
    if support is constraints.real:
        raise ModelError(
            f"site {site!r}: a scale is > 0, but {type(base).__name__} also gives negative numbers: write a prior on "
            "positive ones, such as HalfNormal(1.0) or HalfCauchy(1.0)"
        )
    return pyro.sample(site, law.to_event(len(law.batch_shape)))


def at_weight(prior: Any, shape: torch.Size) -> Any:
    """A prior of a scale, with its own rules taken at the shape of the weight: ``HalfCauchy(fan_in)`` for [3, 4] is
    ``HalfCauchy(0.5)``, for it is the weight that has inputs. What is no ``Law`` and no groups stays as it is."""
    if isinstance(prior, Groups):
        return replace(prior, prior=at_weight(prior.prior, shape))
    if not isinstance(prior, Law):
        return prior
    scale = prior.scale
    if callable(scale) and not isinstance(scale, Law | LogUniform | Groups | Distribution):
        scale = scale(shape)
    return replace(prior, scale=at_weight(scale, shape))


def _fits(scale: torch.Size, shape: torch.Size) -> bool:
    """Whether ``scale`` broadcasts to ``shape``."""
    return len(scale) <= len(shape) and all(a in (1, b) for a, b in zip(reversed(scale), reversed(shape), strict=False))
