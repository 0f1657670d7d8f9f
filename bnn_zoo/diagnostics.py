"""Convergence diagnostics in torch, for a million scalars at once: R-hat, effective sample size, Monte Carlo error.

Everything here takes draws ``[chain, draw, *shape]`` and gives one number per scalar, ``[*shape]`` in float64. The numbers
are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved
R-hat for assessing convergence of MCMC", Bayesian Analysis 16(2), 2021, and agree with ArviZ. NaN among a scalar's draws
gives NaN, and so do fewer than four draws.

The notation: N draws in all, in chains (each split in two halves) of n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

TAILS = (0.05, 0.95)
CACHE, DEVICE_MEMORY = 2**18, 2**24  # draws worked on at a time, on a CPU and on a GPU
MIN_DRAWS = 4


def rhat(x: Any) -> Tensor:
    """Rank-normalised split R-hat: the larger of the bulk's and the folded tails' (Vehtari et al. 2021).

    R-hat = sqrt((B/W + n - 1) / n), with B and W the variances between and within chains of the draws' normal scores.
    Below 1.01 is good. NaN for a single chain (as in ArviZ: halves of one chain cannot show that it is lost) and for
    constant draws, inf for chains that are each stuck at a value of their own.

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, float64. Raises ValueError below two axes.
    """
    x = _draws(x)
    if x.shape[0] < 2:
        return torch.full(x.shape[2:], math.nan, dtype=torch.float64, device=x.device)
    return _each_scalar(lambda x: _rank_rhat(_split(x), *_normal_scores(_split(x))), x)


def ess_bulk(x: Any) -> Tensor:
    """Effective sample size in the bulk: that of the rank-normalised split chains (Vehtari et al. 2021).

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, in draws. Raises ValueError below two axes.
    """
    return _each_scalar(lambda x: _ess(_normal_scores(_split(x))[0]), _draws(x))


def ess_tail(x: Any, prob: tuple[float, float] = TAILS) -> Tensor:
    """Effective sample size in the tails: the smaller of those of ``x <= quantile`` at two quantiles (the same).

    x: ``[chain, draw, *shape]``, tensor or array. prob: the two quantiles, between 0 and 1. ArviZ 1.x takes (0.11, 0.89)
    unless told. Returns ``[*shape]``, in draws. Raises ValueError below two axes and for other probabilities.
    """
    if len(prob) != 2 or not all(0 < p < 1 for p in prob):
        raise ValueError(f"ess_tail expects two probabilities between 0 and 1, got {prob}; write prob={TAILS}")
    return _each_scalar(lambda x: _tail_ess(x, prob), _draws(x))


def ess_mean(x: Any) -> Tensor:
    """Effective sample size for the mean: that of the split chains, not rank-normalised (Vehtari et al. 2021).

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``, in draws. Raises ValueError below two axes.
    """
    return _each_scalar(lambda x: _ess(_split(x)), _draws(x))


def mcse_mean(x: Any) -> Tensor:
    """Monte Carlo standard error of the posterior mean, sd / sqrt(ess_mean), in units of x.

    x: ``[chain, draw, *shape]``, tensor or array. Returns ``[*shape]``. Raises ValueError below two axes.
    """
    return _each_scalar(lambda x: x.double().flatten(1).std(1) / _ess(_split(x)).sqrt(), _draws(x))


def bfmi(energy: Any) -> Tensor:
    """Bayesian fraction of missing information of each chain (Betancourt 2016, arXiv:1604.00695); worry below 0.3.

    mean over draws of (E_i - E_{i-1})^2, over the variance of E.

    energy: ``[chain, draw]``. Returns ``[chain]``, float64. Raises ValueError for other shapes or fewer than two draws.
    """
    energy = _draws(energy).double()
    if energy.ndim != 2 or energy.shape[1] < 2:
        shape = list(energy.shape)
        raise ValueError(f"bfmi expects energies [chain, draw] with two draws or more, got shape {shape}; pass one column")
    return energy.diff(dim=1).square().mean(1) / energy.var(1)


def summarise(x: Any) -> dict[str, float]:
    """The worst and the typical of all scalars in x, sharing the work between the diagnostics.

    Returns ``scalars`` (their number), ``undefined`` (how many have no R-hat: constant, NaN, one chain or too few draws),
    then over those where it is defined: ``max_rhat``, ``share_rhat_above_1.01``, ``min_ess_bulk``, ``median_ess_bulk``
    and ``min_ess_tail``; NaN where none is.

    x: ``[chain, draw, *shape]``, tensor or array. Raises ValueError below two axes or without scalars.
    """
    x = _draws(x)
    if x[:1, :1].numel() == 0:
        raise ValueError(f"summarise expects draws of at least one scalar, got shape {list(x.shape)}; leave the site out")
    rhats, bulk, tail = (v[~np.isnan(v)] for v in _each_scalar(_all_three, x).flatten(1).cpu().numpy())
    scalars = math.prod(x.shape[2:])
    return {
        "scalars": scalars,
        "undefined": scalars - len(rhats),
        "max_rhat": float(rhats.max()) if len(rhats) else math.nan,
        "share_rhat_above_1.01": float((rhats > 1.01).mean()) if len(rhats) else math.nan,
        "min_ess_bulk": float(bulk.min()) if len(bulk) else math.nan,
        "median_ess_bulk": float(np.median(bulk)) if len(bulk) else math.nan,
        "min_ess_tail": float(tail.min()) if len(tail) else math.nan,
    }


def _draws(x: Any) -> Tensor:
    """A detached tensor ``[chain, draw, ...]`` in float32 or float64."""
    x = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.require(x, requirements=["C", "W"]))
    if x.ndim < 2:
        raise ValueError(f"expected draws [chain, draw, ...], got shape {list(x.shape)}; write x[None] for a single chain")
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float() if x.is_floating_point() else x.double()
    return x


def _each_scalar(statistic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``statistic`` maps ``[P, chain, draw]`` to ``[..., P]``; run it over blocks of scalars, so memory stays bounded."""
    chains, draws, *shape = x.shape
    flat = x.reshape(chains, draws, math.prod(shape))
    size = max(1, (CACHE if x.device.type == "cpu" else DEVICE_MEMORY) // max(1, chains * draws))
    parts = []
    for block in flat.split(size, dim=-1):
        scalars = block.shape[-1]
        if draws < MIN_DRAWS or block.numel() == 0:
            block = block.new_full((max(1, chains), MIN_DRAWS, max(1, scalars)), math.nan)
        block = block.movedim(-1, 0).contiguous()
        missing = block.isnan().flatten(1).any(1)
        parts.append(statistic(block).masked_fill(missing, math.nan)[..., :scalars])
    values = torch.cat(parts, dim=-1)
    return values.reshape((*values.shape[:-1], *shape))


def _split(x: Tensor) -> Tensor:
    """Every chain as two: its first and its last half (an odd draw in the middle is dropped)."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half], x[..., -half:]], dim=-2)


def _sort(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted values and order of rows; numpy's sort is twice as fast as torch's on a CPU."""
    if x.device.type != "cpu":
        values, order = x.sort(dim=1)
        return values, order
    order = torch.from_numpy(np.argsort(x.numpy(), axis=1))
    return x.gather(1, order), order


def _normal_scores(x: Tensor) -> tuple[Tensor, Tensor]:
    """z = Phi^-1((rank - 3/8) / (N + 1/4)), ties sharing their average rank, and the median ``[P, 1, 1]``.

    Twice an average rank is whole, so Phi^-1 is looked up in a table of 2N - 1 values.
    """
    N = x[0].numel()
    values, order = _sort(x.flatten(1))
    place = torch.arange(N, device=x.device).expand_as(values)
    edge = torch.ones_like(values[:, :1], dtype=torch.bool)
    new = values[:, 1:] != values[:, :-1]
    first = place.where(torch.cat([edge, new], 1), 0).cummax(1).values  # of the ties that a value belongs to
    last = place.where(torch.cat([new, edge], 1), N - 1).flip(1).cummin(1).values.flip(1)
    ranks = torch.arange(2 * N - 1, device=x.device, dtype=torch.float64) / 2 + 1
    table = torch.special.ndtri((ranks - 3 / 8) / (N + 1 / 4))
    z = torch.empty_like(values, dtype=torch.float64).scatter_(1, order, table[first + last])
    median = (values[:, N // 2 - 1] + values[:, N // 2]) / 2
    return z.view(x.shape), median[:, None, None]


def _rank_rhat(x: Tensor, z: Tensor, median: Tensor) -> Tensor:
    bulk, tail = _rhat(z), _rhat(_normal_scores((x - median).abs())[0])
    return torch.where(tail > bulk, tail, bulk)  # folding may leave a constant: then the bulk alone counts


def _rhat(z: Tensor) -> Tensor:
    n = z.shape[-1]
    variances, means = torch.var_mean(z, -1)
    B, W = n * means.var(-1), variances.mean(-1)
    return ((B / W + n - 1) / n).sqrt()


def _ess(x: Tensor) -> Tensor:
    """``[P, chain, n]`` to ``[P]``: N / tau, at most N log10 N, tau = -1 + 2 sum_t rho_t by Geyer's monotone sequence."""
    x = x.double()
    n, N = x.shape[-1], x[0].numel()
    means = x.mean(-1)
    acov = _autocovariance(x - means[..., None])
    within = acov[:, :1] * n / (n - 1)
    total = acov[:, :1] + (means.var(-1)[:, None] if x.shape[1] > 1 else 0)
    rho = 1 - (within - acov) / total
    rho[:, 0] = 1
    cap = max(0, (n - 3) // 2)
    pairs = rho[:, 0 : 2 * cap + 2 : 2] + rho[:, 1 : 2 * cap + 2 : 2]
    positive = (pairs[:, :cap] > 0).cumprod(1)
    K = positive.sum(1, keepdim=True)  # the pair where the sum stops
    rest = rho.gather(1, 2 * K)
    rest = rest.where((rest > 0) | (pairs.gather(1, K) >= 0), 0)
    tau = -1 + 2 * (pairs.cummin(1).values[:, :cap] * positive).sum(1) + rest[:, 0]
    ess = N / tau.clamp(min=1 / math.log10(N))
    ess = ess.masked_fill(rho[:, 1].isnan(), math.nan)
    low, high = x.flatten(1).aminmax(dim=1)
    return ess.masked_fill(high - low < 1e-15, N)  # constant draws


def _autocovariance(centred: Tensor) -> Tensor:
    """At lags 0 ... n - 1, averaged over chains before the one inverse transform: ``[P, chain, n]`` to ``[P, n]``."""
    n = centred.shape[-1]
    size = min(m * 2 ** math.ceil(math.log2(2 * n / m)) for m in (1, 3, 5) if m <= n)  # a length that the FFT likes
    F = torch.view_as_real(torch.fft.rfft(centred, n=size))
    power = F.square_().mean(1)  # |F|^2 in two parts; abs() would take a slow square root
    return torch.fft.irfft(power[..., 0] + power[..., 1], n=size)[:, :n] / n


def _tail_ess(x: Tensor, prob: tuple[float, float]) -> Tensor:
    values = _sorted(x.flatten(1))
    low, high = (_ess(_split(x <= _quantile(values, q)[:, None, None])) for q in prob)
    return torch.where(high < low, high, low)


def _sorted(x: Tensor) -> Tensor:
    return x.sort(dim=1).values if x.device.type != "cpu" else torch.from_numpy(np.sort(x.numpy(), axis=1))


def _quantile(values: Tensor, q: float) -> Tensor:
    """Type 7 of Hyndman and Fan (1996) of sorted rows, rounded as numpy does so that ties count alike."""
    at = q * (values.shape[1] - 1)
    i, t = int(at), at - int(at)
    low, high = values[:, i], values[:, min(i + 1, values.shape[1] - 1)]
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1 - t)


def _all_three(x: Tensor) -> Tensor:
    """R-hat, ESS in the bulk and in the tails: ``[P, chain, draw]`` to ``[3, P]``."""
    halves = _split(x)
    z, median = _normal_scores(halves)
    rhats = _rank_rhat(halves, z, median) if len(x[0]) > 1 else z.new_full((len(z),), math.nan)
    return torch.stack([rhats, _ess(z), _tail_ess(x, TAILS)])
