"""The log likelihood of each row at each draw, and which rows were data at all.

A row is hidden where a mask (``poutine.mask``, ``dist.Distribution.mask``, ``obs_mask``), a scale of zero, a law that skips
NaN or a label to ignore keeps it out of the log joint. It has no log likelihood then, not one of zero nats: an
importance-sampling leave-one-out would score it. Values that no draw's law can give are refused; a value outside the support
at some draws alone (``Uniform(0, a)``) has the log density −inf there. Scales other than zero (tempering, weights of rows or
classes, subsampled plates) say how much a row counts in the posterior; the log likelihood is that of one such row, unscaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor

from ..density.outside import outside
from ..laws import WeightedCategorical
from ..types import DataError, Model
from .passes import Catch, base_law, place_of, replay

MISSING = dist.NanMaskedNormal | dist.NanMaskedMultivariateNormal


def seen_rows(law: Any, y: Tensor) -> Tensor:
    """``[*batch]``: where ``y`` enters the log joint. A row of several numbers is seen where one of them is."""
    if isinstance(law, dist.MaskedDistribution):
        seen = seen_rows(law.base_dist, y)
        mask = law._mask
        return seen & (mask if isinstance(mask, Tensor) else torch.tensor(mask, device=seen.device))
    if isinstance(law, torch.distributions.Independent):
        count = law.reinterpreted_batch_ndims
        seen = seen_rows(law.base_dist, y)
        return seen.flatten(-count).any(-1) if count else seen
    if isinstance(law, WeightedCategorical) and (labelled := law.seen(y)) is not None:
        return labelled.expand(torch.broadcast_shapes(law.batch_shape, labelled.shape))
    if isinstance(law, MISSING):
        finite = torch.isfinite(y)
        finite = finite.any(-1) if law.event_dim else finite
        return finite.expand(torch.broadcast_shapes(law.batch_shape, finite.shape))
    return torch.ones(law.batch_shape, dtype=torch.bool, device=y.device)


def in_support(law: Any, y: Tensor) -> Tensor:
    """``[*batch]``: where the law can give y. True where torch cannot tell."""
    if isinstance(base_law(law), MISSING):
        return torch.ones(law.batch_shape, dtype=torch.bool, device=y.device)
    try:
        inside = law.support.check(y)
    except (NotImplementedError, ValueError):  # a support that torch does not know
        inside = torch.ones((), dtype=torch.bool, device=y.device)
    return inside.expand(torch.broadcast_shapes(law.batch_shape, inside.shape))


def log_prob(law: Any, y: Tensor) -> Tensor:
    """Log density ``[*batch]``: 0 in hidden rows, whatever they hold, and −inf outside the support."""
    inside = in_support(law, y)
    if bool(inside.all()):
        return law.log_prob(y)
    if law.support.is_discrete:  # zero is a value of every discrete law, and labels that are none cannot be looked up
        y = torch.where(inside[(..., *[None] * law.event_dim)], y, torch.zeros_like(y))
    density = law.log_prob(y)
    return torch.where(inside | ~seen_rows(law, y), density, torch.full_like(density, -torch.inf))


def data_rows(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...]) -> dict[str, Tensor]:
    """``{observed site: seen [*batch]}``, on the CPU, from the first and last draw.

    A row that a mask hides at one of them alone is seen. Raises DataError for values that neither draw's law can give.
    """
    ends = [
        replay(
            model,
            {name: value[at, at] for name, value in sites.items()},
            args,
            lambda law, y: {"seen": seen_rows(law, y), "inside": in_support(law, y)},
        )
        for at in (slice(0, 1), slice(-1, None))
    ]
    seen = {site: torch.stack([end[site]["seen"][0, 0] for end in ends]).any(0) for site in ends[0]}
    for site, shown in seen.items():
        inside = torch.stack([end[site]["inside"][0, 0] for end in ends]).any(0)
        if not bool((inside | ~shown).all()):
            _refuse(model, sites, args, site)
    return seen


def _refuse(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...], site: str) -> None:
    device = place_of(args, sites)[0]
    with Catch({name: value[0, 0].to(device) for name, value in sites.items()}) as catch, torch.no_grad():
        model(*args)
    law, y = catch.data[site], catch.observed[site]
    missing = int(torch.isnan(y).sum()) if y.is_floating_point() else 0
    if missing:
        raise DataError(f"site {site!r}: {missing} of {y.numel()} values are NaN: drop these rows, or mask them")
    raise DataError(outside(site, type(base_law(law)), law.support, y))


def keep(values: Tensor, seen: Tensor, lead: int) -> Tensor:
    """``values [*lead, *batch, …]`` at the rows that are seen: ``[*lead, kept, …]``.

    Rows are left out along the first axis of the batch where whole rows are hidden; else the batch is one axis of cells.
    """
    if bool(seen.all()):
        return values
    rows = row_numbers(seen)
    if not ragged(seen):
        return values.index_select(lead, rows.to(values.device))
    return values.flatten(lead, lead + seen.dim() - 1).index_select(lead, rows.to(values.device))


def ragged(seen: Tensor) -> bool:
    """Whether cells are hidden and not whole rows of the first axis."""
    return seen.dim() > 1 and not torch.equal(seen.flatten(1).any(1), seen.flatten(1).all(1))


def row_numbers(seen: Tensor) -> Tensor:
    """Numbers of the rows that are seen; of the cells, in row-major order, where cells are hidden."""
    flat = seen.flatten() if ragged(seen) else seen.flatten(1).all(1) if seen.dim() > 1 else seen
    return flat.nonzero().flatten()


def log_likelihood(model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...]) -> dict[str, Tensor]:
    """Pointwise log likelihood of every observed site: ``{site: [chain, draw, *batch]}``, in nats, unscaled.

    Hidden rows are left out (``keep``). Raises DataError for NaN and for values outside the support.
    """
    seen = data_rows(model, sites, args)
    out = replay(model, sites, args, lambda law, y: {"": log_prob(law, y)})
    return seen_only({site: values[""] for site, values in out.items()}, seen, 2)


def posterior_predictive(
    model: Model, sites: Mapping[str, Tensor], args: tuple[Any, ...], seed: int = 0
) -> dict[str, Tensor]:
    """New data at every draw, for the observed sites of ``model(*args)``: ``{site: [chain, draw, *shape]}``.

    Hidden rows are left out, as in the log likelihood; ``predict`` has them.
    """
    seen = data_rows(model, sites, args)
    out = replay(model, sites, args, lambda law, y: {"": law.sample()}, seed=seed)
    return seen_only({site: values[""] for site, values in out.items()}, seen, 2)


def seen_only(values: Mapping[str, Tensor], seen: Mapping[str, Tensor], lead: int) -> dict[str, Tensor]:
    """``keep`` for each site; sites without any seen row are left out."""
    return {site: keep(value, seen[site], lead) for site, value in values.items() if bool(seen[site].any())}
