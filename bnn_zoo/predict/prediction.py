"""The posterior predictive law of y at new rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..types import Model, ModelError
from .passes import base_law, log_likelihood, place_of, replay

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
        """Log likelihood of the rows ``y [n, …]`` at each draw: ``[chain, draw, n]``, nats."""
        y, expected = torch.as_tensor(y), self.draws.shape[2:]
        if y.shape != expected:
            raise ValueError(f"log_likelihood expects y of shape {tuple(expected)}, as predicted; got {tuple(y.shape)}")
        device = place_of(self.args, self.sites)[0]
        found = log_likelihood(self.model, self.sites, (*self.args, y.to(device)))
        return next(iter(found.values()))

    def log_prob(self, y: Any) -> Tensor:
        """Log density of the mixture at ``y``: ``log mean_draws p(y_i | draw)``, ``[n]``, nats. Never moment-matched."""
        each = self.log_likelihood(y).double().flatten(0, 1)
        return torch.logsumexp(each, 0) - torch.tensor(float(len(each))).log()


def predict(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...], seed: int = 0) -> Prediction:
    """Prediction of the one site that ``model(*args)`` leaves open when the latent sites are held at the draws.

    Raises ModelError where that is not exactly one site: give the model's inputs, and leave out y.
    """

    def read(law: Any, _: Any) -> dict[str, Tensor]:
        mean, variance = moments(law)
        return {"draws": law.sample(), "f": mean, "variances": variance}

    out = replay(model, sites, args, read, which="open", seed=seed)
    if len(out) != 1:
        raise ModelError(
            f"predict needs a model that leaves one site open without y, but at these arguments it leaves {list(out)}: pass "
            "the inputs only, and write y=None in the model's signature"
        )
    return Prediction(model, sites, args, **next(iter(out.values())))
