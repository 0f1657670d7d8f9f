"""Metrics of regression, and of any likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ._checks import array_of, flat_samples, same_shape

LEVELS = tuple(np.linspace(0.05, 0.95, 19).tolist())


def rmse(mean: Any, y: Any) -> float:
    """Root mean squared error of the predictive mean, in units of y. mean and y: the same shape, ``[n]`` or ``[n, k]``."""
    mean, y = array_of("mean", mean), array_of("y", y)
    same_shape("mean", mean, "y", y)
    return float(np.sqrt(np.mean((mean - y) ** 2)))


def lppd(log_likelihood: Any) -> float:
    """Log pointwise predictive density per row, in nats: mean over rows of log (1/S) sum_s p(y_i | draw s).

    The mixture over draws itself (Gelman, Hwang and Vehtari 2014, eq. 5, divided by n), never a Gaussian with its moments.
    log_likelihood: ``[..., n]``, pointwise; a draw may give a row -inf.
    """
    values = array_of("log_likelihood", log_likelihood, finite=False)
    if np.isposinf(values).any():
        raise ValueError("log_likelihood: expected finite values or -inf, got inf; a noise scale has collapsed to zero")
    draws = torch.from_numpy(values.reshape(-1, values.shape[-1]))
    return float((draws.logsumexp(0) - np.log(len(draws))).mean())


def nll(log_likelihood: Any) -> float:
    """Negative log predictive density per row, in nats: -lppd. log_likelihood: ``[..., n]``, pointwise."""
    return -lppd(log_likelihood)


def crps(draws: Any, y: Any) -> float:
    """Mean continuous ranked probability score, in units of y: E|X - y| - E|X - X'|/2 (Gneiting and Raftery 2007, eq. 21).

    E|X - X'|/2 is sum_i (2i - S - 1) x_(i) / S^2 over the sorted draws x_(1) ... x_(S). Of the draws' empirical
    distribution, so S draws of the true law score about E|X - X'|/2S too high; for a point, the mean absolute error.
    draws: ``[..., *y.shape]``.
    """
    samples, y = flat_samples(draws, y)
    error = np.sort(samples - y, axis=0)  # from y: what is subtracted below stays small
    S = len(error)
    spread = np.tensordot(2 * np.arange(1, S + 1) - S - 1, error, axes=1) / S**2
    return float(np.mean(np.abs(error).mean(0) - spread))


def coverage(draws: Any, y: Any, prob: float = 0.9) -> float:
    """Share of y inside its central predictive interval of probability prob, ends included. draws: ``[..., *y.shape]``."""
    return float(coverage_curve(draws, y, [prob])[0])


def coverage_curve(draws: Any, y: Any, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """Share of y inside its central interval at each level; calibrated predictions give ``levels`` back.

    The draws are of y, noise included, not of its mean. Intervals of counts cover more than their level.
    draws: ``[..., *y.shape]``. levels: between 0 and 1. Returns ``[len(levels)]``.
    """
    samples, y = flat_samples(draws, y)
    p = array_of("levels", levels)
    if p.ndim != 1 or not ((p > 0) & (p < 1)).all():
        raise ValueError(f"levels: expected probabilities between 0 and 1, got {levels}; write 0.9 for 90 %")
    low, high = (np.quantile(samples, q, axis=0) for q in ((1 - p) / 2, (1 + p) / 2))
    return ((low <= y) & (y <= high)).reshape(len(p), -1).mean(1)


def calibration_error(draws: Any, y: Any, levels: Sequence[float] = LEVELS) -> float:
    """Mean over levels of |coverage - level|, for regression: 0 is calibrated, about 0.5 the worst.

    After Kuleshov, Fenner and Ermon 2018, with absolute differences and central intervals.
    draws: ``[..., *y.shape]``, of y, noise included.
    """
    return float(np.mean(np.abs(coverage_curve(draws, y, levels) - np.asarray(levels))))


def pit(draws: Any, y: Any, *, seed: int = 0) -> np.ndarray:
    """Probability integral transform: where each y lies among its predictive draws, from 0 to 1; uniform if calibrated.

    (r + u (t + 1)) / (S + 1), of S draws r below y and t equal to it, u uniform: so that it is uniform for any number of
    draws, and for counts (Czado, Gneiting and Held 2009). draws: ``[..., *y.shape]``, of y, noise included. Returns
    ``[*y.shape]``.
    """
    samples, y = flat_samples(draws, y)
    u = np.random.default_rng(seed).random(y.shape)
    return ((samples < y).sum(0) + u * ((samples == y).sum(0) + 1)) / (len(samples) + 1)
