"""A positive parameter of a likelihood, the size of the noise for one: known, or inferred at a site of its own."""

from __future__ import annotations

from numbers import Real
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution

from .._scope import factory
from ..laws import check_scale, moved
from ..types import ModelError


def check_positive(value: Any, what: str) -> None:
    """Raise ValueError or TypeError unless ``value`` is a number > 0, a tensor of them, a distribution or a prior."""
    if isinstance(value, Real | Tensor):
        check_scale(value, what)
    elif isinstance(value, type) or not (isinstance(value, Distribution) or callable(value)):
        raise TypeError(
            f"{what} must be a number, a distribution or a prior such as HalfNormal(1.0), or a tensor; got {value!r}"
        )


def positive(value: Any, site: str, f: Tensor, law: str, columns: int) -> Any:
    """The parameter as a number or a tensor on the device and in the dtype of ``f``: one number, or one a column of y.

    A distribution or a prior is sampled at ``site``.
    """
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Tensor):
        return _for_columns(value, law, site, columns).to(f)
    with factory(f.device, f.dtype):
        made = _law(value, site, f, law)
        return _for_columns(pyro.sample(site, made.to_event(len(made.batch_shape))), law, site, columns)


def positive_each(value: Any, site: str, f: Tensor, law: str, columns: int) -> Tensor:
    """As ``positive``, but ``[columns]``: a law of one number is the law of each column's own."""
    if isinstance(value, Real | Tensor):
        return f.new_ones(columns) * positive(value, site, f, law, columns)
    with factory(f.device, f.dtype):
        made = _law(value, site, f, law)
        made = made if made.batch_shape else made.expand(torch.Size([columns]))
        return _for_columns(pyro.sample(site, made.to_event(len(made.batch_shape))), law, site, columns)


def _law(value: Any, site: str, f: Tensor, law: str) -> Any:
    """The law of a parameter, on the device and in the dtype of f."""
    made = value if isinstance(value, Distribution) else value(site, torch.Size())
    if not isinstance(made, Distribution):
        raise ModelError(f"{law}: the prior of the {site} must give a distribution, got {type(made).__name__}")
    return moved(made, f.device, f.dtype)


def _for_columns(scale: Tensor, law: str, site: str, columns: int) -> Tensor:
    """The parameter, if it is one number or one a column."""
    if scale.shape not in ((), (columns,)):
        what = "the noise scale" if site == "noise" else f"the {site}"
        raise ModelError(
            f"{law}: {what} must be one number, or one for each of the {columns} columns of y, got {tuple(scale.shape)}"
        )
    return scale
