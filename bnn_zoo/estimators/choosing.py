"""Which backend a data set gets where nobody chose one, and why, in words."""

from __future__ import annotations

from ..backends import MCLMC, NUTS, SGHMC
from ..density import Adam
from ..types import Backend

FEW = 60
"""Unknowns up to which NUTS is used."""
WORK = 1_000_000
"""Products of weights and rows up to which every step looks at all rows; at that size a run takes a minute or two."""
BATCH = 128


def chosen(rows: int, weights: int) -> tuple[Backend, str]:
    """The backend for so many rows and weights, and a sentence that says which and why. Nothing is measured."""
    size = f"{rows:,} rows and {weights:,} weights"
    if rows * weights > WORK:
        # the step is about the largest that networks on standardised data bear: the curvature is some hundred for each row
        batch = min(BATCH, rows)
        return SGHMC(chains=4, steps=20_000, batch_size=batch, step_size=0.01 / rows), (
            f"SGHMC, as {size} are too many for steps that look at all rows ({WORK:,} products of rows and weights at "
            f"most): a step looks at {batch} rows. Its steps blur the posterior a little, so error bars may be too wide"
        )
    if weights <= FEW:
        return NUTS(chains=4, warmup=500, draws=500), (
            f"NUTS, as {size} are few: it is exact up to Monte Carlo error, and with so few weights quick"
        )
    return MCLMC(chains=4, warmup=2_000, draws=250, thinning=16, init=Adam(), energy_variance=1e-4), (
        f"MCLMC, as {size} allow steps that look at all rows ({WORK:,} products of rows and weights at most), and among the "
        "samplers that do so it makes the most effective draws for a gradient on networks. Its step size blurs the "
        "posterior a little"
    )
