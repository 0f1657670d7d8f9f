"""Two tied means of a mixture: the two-dimensional posterior with two modes of the first paper on Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..catalogue import Card


def welling_teh_mixture() -> Callable[..., Tensor]:
    """``y ~ ½ N(θ₁, 2) + ½ N(θ₁ + θ₂, 2)``, θ₁ ~ N(0, 10), θ₂ ~ N(0, 1): variances. Welling & Teh 2011, section 5.1.

    A model ``(y [n], size=None)``. Their data are 100 draws at θ = (0, 1): modes are there and at (1, −1).
    """

    def model(y: Tensor, *, size: int | None = None) -> Tensor:
        first = pyro.sample("theta1", dist.Normal(y.new_zeros(()), 10.0**0.5))
        second = pyro.sample("theta2", dist.Normal(y.new_zeros(()), 1.0))
        parts = dist.Normal(torch.stack([first, first + second]), 2.0**0.5)
        with pyro.plate("data", size or len(y), subsample=y):
            return pyro.sample("y", dist.MixtureSameFamily(dist.Categorical(y.new_full((2,), 0.5)), parts), obs=y)

    return model


CARDS = {
    "welling_teh_mixture": Card(
        formula="""
θ₁ ~ N(0, 10),  θ₂ ~ N(0, 1)            variances
y  ~ ½ N(θ₁, 2) + ½ N(θ₁ + θ₂, 2)
""",
        fit="bz.NUTS(chains=2, warmup=20, draws=20)",
        paper="The paper runs SGLD with one row a step over 10,000 sweeps of the data, with a step size that falls by a "
        "power: `bz.SGLD(batch_size=1, step_size=bz.schedules.polynomial(…))`.",
        facts=(
            ("priors, likelihood, 100 rows at θ = (0, 1)", "section 5.1, as two reproductions of it have it"),
            (
                "10,000 sweeps, step sizes a (b + t)^−.55 from .01 to .0001",
                "apache/mxnet, example/bayesian-methods/sgld.ipynb",
            ),
            ("a second mode at (1, −1)", "section 5.1; the two means change places"),
        ),
        traps=(
            "The second argument of each normal is a variance.",
            "One of the reproductions draws a sum of the two normals and no mixture: its posterior has one mode.",
        ),
        citation="M. Welling, Y. W. Teh. Bayesian learning via stochastic gradient Langevin dynamics. ICML 2011.",
    )
}
