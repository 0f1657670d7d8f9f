"""What the model computes at each draw, as a function of its inputs that autograd can differentiate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import vmap

from .._scope import alone
from ..types import Model
from .passes import Catch, _explained, _quiet, place_of
from .prediction import moments


@alone()
def means(model: Model, sites: Mapping[str, Tensor], x: Tensor, *, together: bool = True) -> Tensor:
    """The model's mean of y at rows ``x`` for each draw in ``sites`` (``[draw, *shape]``): ``[draw, n, …]``, on x's device.

    As ``Prediction.f``, but with gradients with respect to x where they are recorded, and all rows and draws at once.
    ``together=False`` runs the draws one after the other, for networks that torch cannot batch over weights.
    """

    def at(values: Mapping[str, Tensor]) -> Tensor:
        with Catch(values) as catch:
            model(x)
        (law,) = catch.open.values()
        return moments(law)[0]

    recorded = torch.is_grad_enabled()
    values = {name: value.to(x.device) for name, value in sites.items()}
    with _explained(), _quiet(*place_of((x,), values)), torch.set_grad_enabled(recorded):
        if together:
            return vmap(at)(values)
        return torch.stack([at({n: v[i] for n, v in values.items()}) for i in range(len(next(iter(values.values()))))])
