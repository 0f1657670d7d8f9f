"""How good predictions are: arrays in, numbers out. Knows no model; takes tensors (any device) or arrays.

Draws come as ``[chain, draw, n]`` or ``[sample, n]``: all axes before the rows are sample axes, and all samples weigh the
same. ``y`` is ``[n]``, or ``[n, k]`` with k outputs, which then count as so many more rows. Class probabilities are
``[n, C]``, or ``[n]``, the probability of class 1 of two. Wrong shapes, NaN, labels that are no class, rows of
probabilities that do not sum to one, and empty input raise ValueError.

scikit-learn, torchmetrics and scoringrules are slow to import (up to 4 s), so each is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

LEVELS = tuple(np.linspace(0.05, 0.95, 19).tolist())
PROBABILITY_SLACK = 2e-3  # rows of half-precision softmax sum to one within this
BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))  # torchmetrics gives a confidence of 1 its own, extra bin


# Regression, and any likelihood


def rmse(mean: Any, y: Any) -> float:
    """Root mean squared error of the predictive mean, in units of y. mean and y: the same shape, ``[n]`` or ``[n, k]``."""
    mean, y = _array("mean", mean), _array("y", y)
    _same_shape("mean", mean, "y", y)
    return float(np.sqrt(np.mean((mean - y) ** 2)))


def lppd(log_likelihood: Any) -> float:
    """Log pointwise predictive density per row, in nats: mean over rows of log (1/S) sum_s p(y_i | draw s).

    The mixture over draws itself (Gelman, Hwang and Vehtari 2014, eq. 5, divided by n), never a Gaussian with its moments.
    log_likelihood: ``[..., n]``, pointwise; a draw may give a row -inf.
    """
    values = _array("log_likelihood", log_likelihood, finite=False)
    if np.isposinf(values).any():
        raise ValueError("log_likelihood: expected finite values or -inf, got inf; a noise scale has collapsed to zero")
    draws = torch.from_numpy(values.reshape(-1, values.shape[-1]))
    return float((draws.logsumexp(0) - np.log(len(draws))).mean())


def nll(log_likelihood: Any) -> float:
    """Negative log predictive density per row, in nats: -lppd. log_likelihood: ``[..., n]``, pointwise."""
    return -lppd(log_likelihood)


def crps(draws: Any, y: Any) -> float:
    """Mean continuous ranked probability score, in units of y: E|X - y| - E|X - X'|/2 (Gneiting and Raftery 2007, eq. 21).

    Of the draws' empirical distribution, so S draws of the true law score about E|X - X'|/2S too high; for a point, the
    mean absolute error. draws: ``[..., *y.shape]``.
    """
    from scoringrules import crps_ensemble

    samples, y = _samples(draws, y)
    return float(np.mean(crps_ensemble(y, samples, m_axis=0, estimator="qd", backend="numpy")))


def coverage(draws: Any, y: Any, prob: float = 0.9) -> float:
    """Share of y inside its central predictive interval of probability prob, ends included. draws: ``[..., *y.shape]``."""
    return float(coverage_curve(draws, y, [prob])[0])


def coverage_curve(draws: Any, y: Any, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """Share of y inside its central interval at each level; calibrated predictions give ``levels`` back.

    The draws are of y, noise included, not of its mean. Intervals of counts cover more than their level.
    draws: ``[..., *y.shape]``. levels: between 0 and 1. Returns ``[len(levels)]``.
    """
    samples, y = _samples(draws, y)
    p = _array("levels", levels)
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


# Classification


def accuracy(probs: Any, y: Any) -> float:
    """Share of rows whose most probable class is y. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels."""
    from sklearn.metrics import accuracy_score

    probs, y = _classes(probs, y)
    return float(accuracy_score(y, probs.argmax(1)))


def nll_probs(probs: Any, y: Any) -> float:
    """Mean over rows of -log p_y, in nats (the log loss); inf where a true class has probability zero.

    That is :func:`nll` where only class probabilities are at hand. probs: ``[n, C]`` or ``[n]``, means over draws;
    y: ``[n]`` labels.
    """
    probs, y = _classes(probs, y)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(np.maximum(probs[np.arange(len(y)), y], 0))))


def brier(probs: Any, y: Any) -> float:
    """Brier score as Brier 1950 has it: mean over rows of the sum over ALL classes of (p_c - 1[y = c])^2, in [0, 2].

    With two classes that is twice the score of class 1 alone. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels.
    """
    probs, y = _classes(probs, y)
    return float(np.mean(np.sum((probs - np.eye(probs.shape[1])[y]) ** 2, axis=1)))


def ece(probs: Any, y: Any, bins: int = 15) -> float:
    """Expected calibration error of the most probable class, in [0, 1]: sum_b n_b/n |accuracy_b - confidence_b|.

    Guo, Pleiss, Sun and Weinberger 2017, eq. 3, on the bins of :func:`reliability_curve`; in float32.
    probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Biased upwards when bins hold few rows.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    probs, y = _classes(probs, y)
    p, labels = torch.from_numpy(probs.clip(0, BELOW_ONE)), torch.from_numpy(y)
    return float(multiclass_calibration_error(p, labels, num_classes=p.shape[1], n_bins=_bins(bins), norm="l1"))


def reliability_curve(probs: Any, y: Any, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and count of rows in equal bins [a, b) of the confidence max_c p_c (the last closed).

    probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Returns three arrays ``[bins]``; NaN, NaN and 0 where no row falls.
    """
    probs, y = _classes(probs, y)
    confidence, hit = probs.max(1).clip(0, BELOW_ONE).astype(np.float32), probs.argmax(1) == y
    edges = torch.linspace(0, 1, _bins(bins) + 1).numpy()  # in float32, as torchmetrics has them
    index = np.searchsorted(edges, confidence, side="right") - 1
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=w, minlength=bins) for w in (confidence, hit)]
    mean_confidence, share = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return mean_confidence, share, count


def risk_coverage(probs: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Share of errors (risk) among the k most confident rows, against their share of all rows (coverage), k = 1 … n.

    After Geifman and El-Yaniv 2017. Rows of equal confidence come in random order, and the risk is its expectation's; at
    coverage 1 it is 1 - accuracy. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Returns coverage and risk, each ``[n]``.
    """
    probs, y = _classes(probs, y)
    _, level, count = np.unique(-probs.max(1), return_inverse=True, return_counts=True)
    errors = np.repeat(np.bincount(level, weights=probs.argmax(1) != y) / count, count)
    k = np.arange(1, len(y) + 1)
    return k / len(y), np.cumsum(errors) / k


def aurc(probs: Any, y: Any) -> float:
    """Area under the risk-coverage curve, in [0, 1]: the mean over k of :func:`risk_coverage`'s risk; low is good.

    With error rate e, confidence that says nothing about errors gives about e, a perfect order of the rows about
    e + (1 - e) log(1 - e) (Geifman, Uziel and El-Yaniv 2019). probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels.
    """
    return float(np.mean(risk_coverage(probs, y)[1]))


# What the model does not know


def confidence(probs: Any) -> np.ndarray:
    """Probability of the most probable class of each row: from 1/C, never below it, to 1.

    Of probabilities averaged over draws with the rows in one order; a mean confidence below 1/C in a report has averaged
    something else, such as logarithms or rows that were shuffled between draws. probs: ``[n, C]`` or ``[n]``.
    """
    probs = _probabilities(probs)
    return probs.max(1).clip(1 / probs.shape[1], 1)  # rounded rows may sum to a little less than one


def predictive_entropy(probs: Any) -> np.ndarray:
    """Entropy of the predictive distribution of each row, in nats, at most log C. probs: ``[n, C]`` or ``[n]``."""
    return _entropy(_probabilities(probs))


def mutual_information(probs_draws: Any) -> np.ndarray:
    """Mutual information of label and weights for each row, in nats: H[mean of p] - mean of H[p] (Houlsby et al. 2011).

    The epistemic part of :func:`predictive_entropy`. probs_draws: ``[..., n, C]``. Returns ``[n]``.
    """
    probs = _array("probs_draws", probs_draws)
    if probs.ndim < 3:
        raise ValueError(f"probs_draws: expected [..., n, C], got shape {probs.shape}; pass the draws, not their mean")
    probs = _check_simplex("probs_draws", probs).reshape(-1, *probs.shape[-2:])
    return np.maximum(_entropy(probs.mean(0)) - _entropy(probs).mean(0), 0)


def auroc(scores_in: Any, scores_out: Any) -> float:
    """Probability that a row out of distribution scores above one within, ties one half: 1 is perfect, 0.5 is chance.

    scores_in, scores_out: ``[n]`` and ``[m]``; a higher score means more out of distribution, such as the entropy.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_in_and_out(scores_in, scores_out)))


def aupr(scores_in: Any, scores_out: Any) -> float:
    """Area under the precision-recall curve with rows out of distribution as positives: the average precision.

    The step-wise sum of scikit-learn, not the trapezoid. Chance is their share m/(n + m), so only numbers with the same
    n and m compare. scores_in, scores_out: ``[n]`` and ``[m]``; a higher score means more out of distribution.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_in_and_out(scores_in, scores_out)))


def ood_report(probs_in: Any, probs_out: Any) -> dict[str, dict[str, float]]:
    """How well three scores tell rows within the distribution from rows outside it.

    ``{score: {mean_in, mean_out, auroc, aupr}}`` for ``one_minus_confidence``, ``entropy`` and, if both come as draws,
    ``mutual_information``; ``pandas.DataFrame(report).T`` is its table. probs_in, probs_out: ``[..., n, C]`` and
    ``[..., m, C]``, leading axes being draws of the weights, which are averaged as probabilities, row by row; or ``[n]``
    and ``[m]``, of class 1. Raises ValueError if classes differ or only one has draws.
    """
    sets = [_array("probs_in", probs_in), _array("probs_out", probs_out)]
    with_draws = [p.ndim > 2 for p in sets]
    means = [_probabilities(p.reshape(-1, *p.shape[-2:]).mean(0) if p.ndim > 2 else p) for p in sets]
    if with_draws[0] != with_draws[1] or means[0].shape[1] != means[1].shape[1]:
        shapes = f"{sets[0].shape} and {sets[1].shape}"
        raise ValueError(f"probs: expected the same classes, and draws in both or in none, got {shapes}; pass both alike")
    scores = {
        "one_minus_confidence": [1 - confidence(p) for p in means],
        "entropy": [predictive_entropy(p) for p in means],
    }
    if with_draws[0]:
        scores["mutual_information"] = [mutual_information(p) for p in sets]
    return {
        name: {
            "mean_in": float(inside.mean()),
            "mean_out": float(outside.mean()),
            "auroc": auroc(inside, outside),
            "aupr": aupr(inside, outside),
        }
        for name, (inside, outside) in scores.items()
    }


# Checks


def _array(name: str, values: Any, finite: bool = True) -> np.ndarray:
    array = values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, np.float64)
    if array.size == 0 or array.ndim == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {array.shape}; pass predictions for some data")
    bad = np.isnan(array) if not finite else ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: expected numbers, got {array[where]} at {where} ({bad.sum()} in all); drop those rows")
    return array


def _same_shape(name: str, array: np.ndarray, other: str, reference: np.ndarray) -> None:
    if array.shape != reference.shape:
        raise ValueError(f"{name}: expected {other}'s shape {reference.shape}, got {array.shape}; reshape one of the two")


def _samples(draws: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draws with their sample axes as one, ``[S, *y.shape]``, and y."""
    draws, y = _array("draws", draws), _array("y", y)
    if draws.ndim <= y.ndim or draws.shape[-y.ndim :] != y.shape:
        raise ValueError(f"draws: expected [..., *y.shape] with y {y.shape}, got {draws.shape}; put sample axes first")
    return draws.reshape(-1, *y.shape), y


def _in_and_out(scores_in: Any, scores_out: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (0 within, 1 out of distribution) and scores of all rows."""
    inside, outside = _array("scores_in", scores_in).ravel(), _array("scores_out", scores_out).ravel()
    return np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])


def _check_simplex(name: str, probs: np.ndarray) -> np.ndarray:
    total = probs.sum(-1)
    if probs.min() < -PROBABILITY_SLACK or np.abs(total - 1).max() > PROBABILITY_SLACK:
        worst = total.flat[np.abs(total - 1).argmax()]
        got = f"a row that sums to {worst:.4g} and a smallest value of {probs.min():.4g}"
        raise ValueError(f"{name}: expected probabilities that sum to one, got {got}; take the softmax of logits first")
    return probs


def _probabilities(probs: Any) -> np.ndarray:
    """``[n, C]``, from that or from the probability ``[n]`` of class 1."""
    probs = _array("probs", probs)
    if probs.ndim == 1:
        probs = np.stack([1 - probs, probs], axis=1)
    if probs.ndim != 2 or probs.shape[1] < 2:
        raise ValueError(f"probs: expected [n, C] or [n], got shape {probs.shape}; average over draws, squeeze [n, 1]")
    return _check_simplex("probs", probs)


def _classes(probs: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[n, C]`` and integer labels ``[n]``."""
    probs, y = _probabilities(probs), _array("y", y)
    if y.shape != probs.shape[:1]:
        raise ValueError(f"y: expected labels {probs.shape[:1]}, got shape {y.shape}; squeeze it or take argmax of one-hot")
    bad = (y != y.round()) | (y < 0) | (y >= probs.shape[1])
    if bad.any():
        raise ValueError(f"y: expected labels 0 ... {probs.shape[1] - 1}, got {y[bad][0]:g}; number the classes from 0")
    return probs, y.astype(np.int64)


def _bins(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"bins: expected 1 or more, got {bins}; write bins=15")
    return bins


def _entropy(probs: np.ndarray) -> np.ndarray:
    p = np.maximum(probs, 0)
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
