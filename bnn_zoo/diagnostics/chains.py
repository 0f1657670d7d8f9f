"""R-hat and effective sample size of chains ``[P, chain, n]``, already split, for P scalars at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .ranks import in_order, normal_scores

SINGLE = 2**16  # draws up to which single precision counts pairs without error


def split(x: Tensor) -> Tensor:
    """Every chain as two: its first and its last half (an odd draw in the middle is dropped)."""
    half = x.shape[-1] // 2
    if 2 * half == x.shape[-1]:
        return x.reshape(len(x), -1, half)
    return torch.cat([x[..., :half], x[..., -half:]], dim=-1).view(len(x), -1, half)


def rank_rhat(x: Tensor, bulk: Tensor, values: Tensor) -> Tensor:
    """The larger of ``bulk``, R-hat of the scores of x, and R-hat of those of |x - median|; ``values``: x in order."""
    middle = values.shape[1] // 2
    median = ((values[:, middle - 1] + values[:, middle]) / 2)[:, None, None]
    finite = median.isfinite()
    folded = (x - median.where(finite, 0)).abs()
    tail = split_rhat(normal_scores(folded)[0]).where(finite[:, 0, 0], math.nan)
    return torch.where(tail > bulk, tail, bulk)  # folding may leave a constant: then the bulk alone counts


def split_rhat(z: Tensor) -> Tensor:
    """sqrt((B/W + n - 1) / n), B and W the variances between and within chains (Vehtari et al. 2021, eq. 1 to 4)."""
    means = z.mean(-1)
    W = torch.linalg.vector_norm(z - means[..., None], dim=-1).square().mean(-1) / (z.shape[-1] - 1)
    return _rhat(means, W, z.shape[-1])


def ess(x: Tensor) -> Tensor:
    """Effective sample size for the mean of x (Vehtari et al. 2021, eq. 10 to 13)."""
    low, high = x.flatten(1).aminmax(dim=1)
    return _ess(*_autocovariance(x.double()), high - low < 1e-15)


def tail_ess(x: Tensor, prob: tuple[float, float]) -> Tensor:
    """The smaller ESS of ``x <= quantile`` at two quantiles of ``x [P, chain, draw]``, not yet split."""
    low, high = _ess(*_tails(split(x), in_order(x.flatten(1)), prob)).view(2, -1)
    return torch.where(high < low, high, low)


def all_three(x: Tensor, prob: tuple[float, float]) -> Tensor:
    """R-hat and ESS in the bulk and in the tails of ``x [P, chain, draw]``, not yet split: ``[3, P]``."""
    halves = split(x)
    z, values = normal_scores(halves)
    n = z.shape[-1]
    bulk = (*_autocovariance(z), values[:, 0] == values[:, -1])
    tails = _tails(halves, values if values.numel() == x.numel() else in_order(x.flatten(1)), prob)
    rhats = _rhat(bulk[0], bulk[1][:, 0] * n / (n - 1), n)
    rhats = rank_rhat(halves, rhats, values) if x.shape[1] > 1 else torch.full_like(rhats, math.nan)
    bulk_ess, low, high = _ess(*(torch.cat(both) for both in zip(bulk, tails, strict=True))).view(3, -1)
    return torch.stack([rhats, bulk_ess, torch.where(high < low, high, low)])


def _rhat(means: Tensor, W: Tensor, n: int) -> Tensor:
    B = n * means.var(-1)
    return ((B / W + n - 1) / n).sqrt()


def _ess(means: Tensor, acov: Tensor, constant: Tensor) -> Tensor:
    """N / tau, at most N log10 N, tau = -1 + 2 sum_t rho_t by Geyer's initial monotone sequence; N for constants.

    means: ``[P, chain]``; acov: ``[P, n]``, autocovariances averaged over chains.
    """
    n, N = acov.shape[1], acov.shape[1] * means.shape[1]
    within = acov[:, :1] * n / (n - 1)
    total = acov[:, :1] + (means.var(-1)[:, None] if means.shape[1] > 1 else 0)
    cap = max(0, (n - 3) // 2)
    even, odd = acov[:, 0 : 2 * cap + 2 : 2], acov[:, 1 : 2 * cap + 2 : 2]
    pairs = 2 - (2 * within - even - odd) / total  # rho_2k + rho_2k+1, where rho_t = 1 - (within - acov_t) / total
    pairs[:, 0] = 2 - ((within - odd[:, :1]) / total)[:, 0]  # but rho_0 = 1
    monotone = pairs.cummin(1).values
    K = (monotone[:, :cap] > 0).sum(1, keepdim=True)  # the pair where the sum stops
    rest = 1 - (within - even.gather(1, K)) / total  # where K = 0 that is not quite rho_0, but tau is at its least anyway
    rest = rest.where((rest > 0) | (pairs.gather(1, K) >= 0), 0)
    tau = -1 + 2 * monotone[:, :cap].clamp(min=0).sum(1) + rest[:, 0]
    ess = N / tau.clamp(min=1 / math.log10(N))
    return ess.masked_fill(pairs[:, 0].isnan(), math.nan).masked_fill(constant, N)


def _autocovariance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the chains and autocovariances at lags 0 ... n - 1, averaged over chains: ``[P, chain], [P, n]``."""
    n = x.shape[-1]
    means = x.mean(-1)
    padded = x.new_empty(*x.shape[:-1], _length(n))
    padded[..., n:] = 0
    torch.sub(x, means[..., None], out=padded[..., :n])
    return means, _correlate(padded, n) / (n * x.shape[1])


def _tails(x: Tensor, values: Tensor, prob: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Of I = (x <= quantile), all scalars at one quantile, then at the other: what ``_ess`` takes; ``values``: x in order.

    Whole numbers throughout: pairs with I_t = I_{t+k} = 1 are counted by a transform in single precision, which rounding
    makes exact, and sum_t (I_t - m)(I_{t+k} - m) = pairs - m (sum of the first n - k + sum of the last n - k) + (n - k) m^2.
    """
    C, n = x.shape[1:]
    dtype = torch.float32 if C * n <= SINGLE else torch.float64
    padded = torch.empty(len(prob), *x.shape[:2], _length(n), dtype=dtype, device=x.device)
    padded[..., n:] = 0
    torch.le(x, torch.stack([_quantile(values, q) for q in prob])[..., None, None], out=padded[..., :n])
    padded = padded.flatten(0, 1)
    counts = padded.sum(-1)
    pairs = _correlate(padded, n).round().double()
    running = (counts[..., None] * padded[..., :n]).sum(1).double().cumsum(-1)  # of I, weighted by the chain's count
    first, last = running.flip(-1), running[:, -1:] - running
    counts = counts.double()
    left = torch.arange(n, 0, -1, device=x.device, dtype=torch.float64)
    acov = n * (n * pairs - first) + left * counts.square().sum(-1, keepdim=True)
    acov[:, 1:] -= n * last[:, :-1]
    acov[:, 0] -= n * running[:, -1]
    inside = counts.sum(-1)
    return counts / n, acov / (float(n) ** 3 * C), (inside == 0) | (inside == C * n)


def _correlate(padded: Tensor, n: int) -> Tensor:
    """sum_t x_t x_{t+k}, k < n, summed over chains before the inverse transform: ``[P, chain, length]`` to ``[P, n]``."""
    length = padded.shape[-1]
    F = torch.view_as_real(torch.fft.rfft(padded))
    power = F.square_().sum(1)  # |F|^2 in two parts; abs() would take a slow square root
    return torch.fft.irfft(power[..., 0] + power[..., 1], n=length)[:, :n]


def _length(n: int) -> int:
    """A length of 2n or more that the FFT likes."""
    return min(m * 2 ** math.ceil(math.log2(2 * n / m)) for m in (1, 3, 5) if m <= n)


def _quantile(values: Tensor, q: float) -> Tensor:
    """Type 7 of Hyndman and Fan (1996) of sorted rows, rounded as numpy does so that ties count alike."""
    at = q * (values.shape[1] - 1)
    i, t = int(at), at - int(at)
    low, high = values[:, i], values[:, min(i + 1, values.shape[1] - 1)]
    return low + (high - low) * t if t < 0.5 else high - (high - low) * (1 - t)
