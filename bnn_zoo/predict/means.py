"""What the model computes at each draw, as a function of its inputs that autograd can differentiate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from .._scope import alone
from ..types import Model
from .passes import Catch, _explained, _quiet, place_of
from .prediction import _target, moments


@alone()
def means(model: Model, sites: Mapping[str, Tensor], x: Tensor, *, together: bool = True) -> Tensor:
    """The model's mean of y at rows ``x`` for each draw in ``sites`` (``[draw, *shape]``): ``[draw, n, …]``, on x's device.

    As ``Prediction.f``, but with gradients with respect to x where they are recorded, and all rows and draws at once.
    ``together=False`` runs the draws one after the other, for networks that torch cannot batch over weights.
    """
    return _each(model, sites, x, lambda law: moments(law)[0], together)


@alone()
def log_predictive(model: Model, sites: Mapping[str, Tensor], x: Tensor, y: Any, *, together: bool = True) -> Tensor:
    """Log density of the mixture over draws, ``log mean_draws p(y_i | x_i, draw)``: ``[n]``, float64, nats.

    As ``Prediction.log_prob``, but with gradients with respect to x where they are recorded; taken in logs, so that they
    are there where a probability rounds to one. 0 for labels to ignore. Other arguments as in ``means``; raises DataError
    for y of another shape than the model's.
    """

    def read(law: Any) -> Tensor:
        density: Tensor = law.log_prob(_target(y, law.shape(), x.device, place_of((x,), sites)[1]))
        return density

    each = _each(model, sites, x, read, together).double()
    return torch.logsumexp(each, 0) - math.log(len(each))


def can_batch(model: Model, sites: Mapping[str, Tensor], x: Tensor) -> bool:
    """Whether torch computes all draws together at ``x`` as it computes the first alone."""
    first = {name: value[:1] for name, value in sites.items()}
    single = means(model, first, x, together=False)
    try:
        return torch.allclose(means(model, sites, x)[:1], single, rtol=1e-3, atol=1e-5)
    except (RuntimeError, NotImplementedError, ValueError):
        return False


def _each(model: Model, sites: Mapping[str, Tensor], x: Tensor, read: Callable[[Any], Tensor], together: bool) -> Tensor:
    """``read(law of y)`` at each draw: ``[draw, …]``."""

    def at(values: Mapping[str, Tensor]) -> Tensor:
        with Catch(values) as catch:
            model(x)
        (law,) = catch.open.values()
        return read(law)

    recorded = torch.is_grad_enabled()
    values = {name: value.to(x.device) for name, value in sites.items()}
    with _explained(), _quiet(*place_of((x,), values)), torch.set_grad_enabled(recorded):
        if together:
            return vmap(at)(values)
        return torch.stack([at({n: v[i] for n, v in values.items()}) for i in range(len(next(iter(values.values()))))])
