"""The posterior predictive law of y at new rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from ..bnn import rows_alone
from ..types import DataError, Model, ModelError
from .passes import base_law, place_of, replay
from .pointwise import data_rows, log_prob

NUMBERS = 2**22
"""Numbers of a block of rows over all draws, in float64."""


def moments(law: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of a law of y; for classes those of the indicator of each class, ``[…, classes]``.

    NaN where torch knows none, as for a TransformedDistribution.
    """
    base = base_law(law)
    if isinstance(base, torch.distributions.Categorical | torch.distributions.OneHotCategorical):
        return base.probs, base.probs * (1.0 - base.probs)
    try:
        return law.mean, law.variance
    except NotImplementedError:
        return (torch.full(law.shape(), torch.nan),) * 2


def over_draws(values: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """``f`` of values ``[chain, draw, n, …]`` in float64, as ``[n, …]`` in their own dtype: rows in blocks, for memory."""
    if values.dim() < 3:
        return f(values.double()).to(values.dtype)
    rows = max(NUMBERS // max(values[:, :, :1].numel(), 1), 1)
    return torch.cat([f(part.double()).to(values.dtype) for part in values.split(rows, 2)])


@dataclass
class Prediction:
    """The posterior predictive law of y at new rows, as a mixture over draws.

    site
        name of the site that was left open: y.
    draws
        ``[chain, draw, n, …]``: one y drawn from the model at each posterior draw.
    f
        ``[chain, draw, n, …]``: the model's mean of y at each draw (for classes the probabilities, ``[…, n, classes]``);
        what function-space diagnostics look at.
    mean, sd
        ``[n, …]`` of the mixture; ``sd² = epistemic² + aleatoric²`` (law of total variance), all in y's units. For classes
        mean is the predictive probability and the sds are those of each class's indicator.
    epistemic
        sd of f over draws: what more data would reduce.
    aleatoric
        root of the mean noise variance: what more data would not.
    """

    model: Model
    sites: Mapping[str, Tensor] = field(repr=False)
    args: tuple[Any, ...] = field(repr=False)
    site: str
    draws: Tensor = field(repr=False)
    f: Tensor = field(repr=False)
    variances: Tensor = field(repr=False)

    @cached_property
    def mean(self) -> Tensor:
        return over_draws(self.f, lambda f: f.mean((0, 1)))

    @cached_property
    def epistemic(self) -> Tensor:
        return over_draws(self.f, lambda f: f.var((0, 1), correction=0).sqrt())

    @cached_property
    def aleatoric(self) -> Tensor:
        return over_draws(self.variances, lambda v: v.mean((0, 1)).sqrt())

    @cached_property
    def sd(self) -> Tensor:
        return (self.epistemic**2 + self.aleatoric**2).sqrt()

    def log_likelihood(self, y: Any) -> Tensor:
        """Log likelihood of the rows ``y [n, …]``, a tensor or array, at each draw: ``[chain, draw, n]``, nats.

        NaN in rows that a mask of the model, or a label to ignore, hides. Raises DataError for NaN, other shapes and values
        that are none of y's.
        """
        device, dtype = place_of(self.args, self.sites)
        value = _target(y, self.draws.shape[2:], device, dtype)
        model, args = self.model, self.args
        if rows_alone(model):
            args = (*args[:1], value)
        else:
            model = poutine.condition(model, data={self.site: value})
        seen = data_rows(model, self.sites, args)[self.site]
        found = replay(model, self.sites, args, lambda law, y: {"": log_prob(law, y)})[self.site][""]
        return found if bool(seen.all()) else torch.where(seen, found, torch.nan)

    def log_prob(self, y: Any) -> Tensor:
        """Log density of the mixture at ``y``: ``log mean_draws p(y_i | draw)``, ``[n]``, nats. Never moment-matched."""
        each = self.log_likelihood(y).double().flatten(0, 1)
        return torch.logsumexp(each, 0) - math.log(len(each))


def _target(y: Any, expected: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``y`` as a tensor of the predicted shape, on the model's device and in its precision."""
    array = y if isinstance(y, Tensor) else np.array(y)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
        raise DataError(f"y is an array of {array.dtype}: expected numbers; encode text and categories first")
    value = torch.as_tensor(array).detach()
    if value.shape != expected:
        squeeze = ": write y.squeeze(-1)" if value.shape == (*expected, 1) else ""
        raise DataError(
            f"log_likelihood expects y of shape {tuple(expected)}, as predicted; got {tuple(value.shape)}{squeeze}"
        )
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)


def predict(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...], seed: int = 0) -> Prediction:
    """Prediction of the one site that ``model(*args)`` leaves open when the latent sites are held at the draws.

    Raises ModelError where that is not exactly one site: give the model's inputs, and leave out y.
    """

    def read(law: Any, _: Any) -> dict[str, Tensor]:
        mean, variance = moments(law)
        return {"draws": law.sample(), "f": mean, "variances": variance}

    out = replay(model, sites, args, read, which="open", seed=seed)
    if not out:
        raise ModelError(
            "predict needs a model that leaves one site open without y, but at these arguments it leaves []: pass the "
            "inputs only, and write y=None in the model's signature"
        )
    if len(out) > 1:
        raise ModelError(
            f"predict needs a model that leaves one site open without y, but at these arguments it leaves {list(out)}: give "
            "the values of all but one, None for that one, such as predict(x, None, z); "
            "to_inference_data(test=…) has predictions of all of them"
        )
    site, found = next(iter(out.items()))
    return Prediction(model, sites, args, site, **found)
