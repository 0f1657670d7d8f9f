"""Convergence diagnostics in torch, for a million scalars at once: R-hat, effective sample size, Monte Carlo error.

Everything here takes draws ``[chain, draw, *shape]`` and gives one number per scalar, ``[*shape]`` in float64. The numbers
are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved
R-hat for assessing convergence of MCMC", Bayesian Analysis 16(2), 2021, and agree with ArviZ. NaN among a scalar's draws
gives NaN, and so do fewer than four draws.

Draws are tensors or arrays, memory maps (in C order) among them. They are read a block of scalars at a time, so that beside
the result memory does not grow with them. On a CPU blocks run on ``torch.get_num_threads()`` threads. Where two or three
diagnostics are wanted, ``convergence`` sorts once for all.

The notation: N draws in all, in chains (each split in two halves) of n.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .alignment import Aligned, align_units
from .blocks import checked, each_scalar, tensor
from .chains import all_three, ess, rank_rhat, split, split_rhat, tail_ess
from .ranks import normal_scores

__all__ = [
    "Aligned",
    "Convergence",
    "align_units",
    "bfmi",
    "convergence",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "mcse_mean",
    "rhat",
    "summarise",
]

TAILS = (0.05, 0.95)


class Convergence(NamedTuple):
    """R-hat and effective sample sizes, each ``[*shape]``, float64."""

    rhat: Tensor
    ess_bulk: Tensor
    ess_tail: Tensor


def rhat(x: Any) -> Tensor:
    """Rank-normalised split R-hat: the larger of the bulk's and the folded tails' (Vehtari et al. 2021).

    R-hat = sqrt((B/W + n - 1) / n), with B and W the variances between and within chains of the draws' normal scores.
    Below 1.01 is good. NaN for a single chain (as in ArviZ: halves of one chain cannot show that it is lost) and for
    constant draws, inf for chains that are each stuck at a value of their own.

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, float64. Raises ValueError below two axes.
    """
    return each_scalar(_rhat, x)


def ess_bulk(x: Any) -> Tensor:
    """Effective sample size in the bulk: that of the rank-normalised split chains (Vehtari et al. 2021).

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, in draws. Raises ValueError below two axes.
    """
    return each_scalar(lambda x: ess(normal_scores(split(x))[0]), x)


def ess_tail(x: Any, prob: tuple[float, float] = TAILS) -> Tensor:
    """Effective sample size in the tails: the smaller of those of ``x <= quantile`` at two quantiles (the same).

    x: ``[chain, draw, *shape]``, tensor or array. prob: the two quantiles, between 0 and 1. ArviZ 1.x takes (0.11, 0.89)
    unless told. Returns ``[*shape]``, in draws. Raises ValueError below two axes and for other probabilities.
    """
    if len(prob) != 2 or not all(0 < p < 1 for p in prob):
        raise ValueError(f"ess_tail expects two probabilities between 0 and 1, got {prob}; write prob={TAILS}")
    return each_scalar(lambda x: tail_ess(x, prob), x)


def ess_mean(x: Any) -> Tensor:
    """Effective sample size for the mean: that of the split chains, not rank-normalised (Vehtari et al. 2021).

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, in draws. Raises ValueError below two axes.
    """
    return each_scalar(lambda x: ess(split(x)), x)


def mcse_mean(x: Any) -> Tensor:
    """Monte Carlo standard error of the posterior mean, sd / sqrt(ess_mean), in units of x.

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``. Raises ValueError below two axes.
    """
    return each_scalar(lambda x: x.double().flatten(1).std(1) / ess(split(x)).sqrt(), x)


def bfmi(energy: Any) -> Tensor:
    """Bayesian fraction of missing information of each chain (Betancourt 2016, arXiv:1604.00695); worry below 0.3.

    mean over draws of (E_i - E_{i-1})^2, over the variance of E.

    energy: ``[chain, draw]``. Returns ``[chain]``, float64. Raises ValueError for other shapes or fewer than two draws.
    """
    energy = tensor(checked(energy)).double()
    if energy.ndim != 2 or energy.shape[1] < 2:
        shape = list(energy.shape)
        raise ValueError(f"bfmi expects energies [chain, draw] with two draws or more, got shape {shape}; pass one column")
    return energy.diff(dim=1).square().mean(1) / energy.var(1)


def convergence(x: Any) -> Convergence:
    """``rhat``, ``ess_bulk`` and ``ess_tail`` of every scalar, sharing the work between them.

    x: ``[chain, draw, *shape]``, tensor or array; or an iterator of such, for draws that are not in memory as a whole: then
    the results are ``[scalars]``, those of all items in order. Raises ValueError below two axes and for an empty iterator.
    """
    return Convergence(*each_scalar(lambda x: all_three(x, TAILS), x))


def summarise(x: Any) -> dict[str, float]:
    """The worst and the typical of all scalars in x, sharing the work between the diagnostics.

    Returns ``scalars`` (their number), ``undefined`` (how many have no R-hat: constant, NaN, one chain or too few draws),
    then over those where it is defined: ``max_rhat``, ``share_rhat_above_1.01``, ``min_ess_bulk``, ``median_ess_bulk``
    and ``min_ess_tail``; NaN where none is.

    x: ``[chain, draw, *shape]``, tensor or array, or an iterator of such as in ``convergence``. Raises ValueError below two
    axes, without scalars and for an empty iterator.
    """
    values = each_scalar(lambda x: all_three(x, TAILS), x).flatten(1).cpu().numpy()
    if values.size == 0:
        raise ValueError(
            "summarise expects draws [chain, draw, *shape] of at least one scalar, got none; leave the site out"
        )
    rhats, bulk, tail = (v[~np.isnan(v)] for v in values)
    return {
        "scalars": values.shape[1],
        "undefined": values.shape[1] - len(rhats),
        "max_rhat": float(rhats.max()) if len(rhats) else math.nan,
        "share_rhat_above_1.01": float((rhats > 1.01).mean()) if len(rhats) else math.nan,
        "min_ess_bulk": float(bulk.min()) if len(bulk) else math.nan,
        "median_ess_bulk": float(np.median(bulk)) if len(bulk) else math.nan,
        "min_ess_tail": float(tail.min()) if len(tail) else math.nan,
    }


def _rhat(x: Tensor) -> Tensor:
    if x.shape[1] < 2:
        return torch.full(x.shape[:1], math.nan, dtype=torch.float64, device=x.device)
    z, values = normal_scores(split(x))
    return rank_rhat(split(x), split_rhat(z), values)
