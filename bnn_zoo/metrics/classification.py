"""Metrics of class probabilities.

A class for each pixel or place: ``probs [n, *places, C]`` and ``y [n, *places]``, which count as so many rows. Rows and
places where y is ``ignore`` (255, -1), which have no label, are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import checked_bins, labelled, probabilities, same_shape

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))  # so that a confidence of 1 falls in the last bin


def accuracy(probs: Any, y: Any, *, ignore: int | None = None) -> float:
    """Share of rows whose most probable class is y. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels."""
    from sklearn.metrics import accuracy_score

    probs, y = labelled(probs, y, ignore)
    return float(accuracy_score(y, probs.argmax(1)))


def nll_probs(probs: Any, y: Any, *, ignore: int | None = None) -> float:
    """Mean over rows of -log p_y, in nats (the log loss); inf where a true class has probability zero.

    That is :func:`nll` where only class probabilities are at hand. probs: ``[n, C]`` or ``[n]``, means over draws;
    y: ``[n]`` labels.
    """
    probs, y = labelled(probs, y, ignore)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(np.maximum(probs[np.arange(len(y)), y], 0))))


def brier(probs: Any, y: Any, *, ignore: int | None = None) -> float:
    """Brier score as Brier 1950 has it: mean over rows of the sum over ALL classes of (p_c - 1[y = c])^2, in [0, 2].

    With two classes that is twice the score of class 1 alone. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels.
    """
    probs, y = labelled(probs, y, ignore)
    return float(np.mean(np.sum((probs - np.eye(probs.shape[1])[y]) ** 2, axis=1)))


def ece(probs: Any, y: Any, bins: int = 15, *, ignore: int | None = None) -> float:
    """Expected calibration error of the most probable class, in [0, 1]: sum_b n_b/n |accuracy_b - confidence_b|.

    Guo, Pleiss, Sun and Weinberger 2017, eq. 3, on the bins of :func:`reliability_curve`.
    probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Biased upwards when bins hold few rows.
    """
    confidence, share, count = reliability_curve(probs, y, bins, ignore=ignore)
    return float(np.nansum(count * np.abs(share - confidence)) / count.sum())


def reliability_curve(
    probs: Any, y: Any, bins: int = 15, *, ignore: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and count of rows in equal bins [a, b) of the confidence max_c p_c (the last closed).

    probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Returns three arrays ``[bins]``; NaN, NaN and 0 where no row falls.
    """
    probs, y = labelled(probs, y, ignore)
    confidence, hit = probs.max(1).clip(0, BELOW_ONE).astype(np.float32), probs.argmax(1) == y
    edges = np.linspace(0, 1, checked_bins(bins) + 1, dtype=np.float32)  # float32: 0.8 of a softmax lies on the edge 0.8
    index = np.searchsorted(edges, confidence, side="right") - 1
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=w, minlength=bins) for w in (confidence, hit)]
    mean_confidence, share = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return mean_confidence, share, count


def risk_coverage(probs: Any, y: Any, *, ignore: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Share of errors (risk) among the k most confident rows, against their share of all rows (coverage), k = 1 … n.

    After Geifman and El-Yaniv 2017. Rows of equal confidence come in random order, and the risk is its expectation's; at
    coverage 1 it is 1 - accuracy. probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels. Returns coverage and risk, each ``[n]``.
    """
    probs, y = labelled(probs, y, ignore)
    _, level, count = np.unique(-probs.max(1), return_inverse=True, return_counts=True)
    errors = np.repeat(np.bincount(level, weights=probs.argmax(1) != y) / count, count)
    k = np.arange(1, len(y) + 1)
    return k / len(y), np.cumsum(errors) / k


def aurc(probs: Any, y: Any, *, ignore: int | None = None) -> float:
    """Area under the risk-coverage curve, in [0, 1]: the mean over k of :func:`risk_coverage`'s risk; low is good.

    With error rate e, confidence that says nothing about errors gives about e, a perfect order of the rows about
    e + (1 - e) log(1 - e) (Geifman, Uziel and El-Yaniv 2019). probs: ``[n, C]`` or ``[n]``; y: ``[n]`` labels.
    """
    return float(np.mean(risk_coverage(probs, y, ignore=ignore)[1]))


def agreement(probs: Any, others: Any) -> float:
    """Share of rows of which two predictions name the same class (Izmailov et al. 2021, arXiv:2104.14421), in [0, 1].

    probs, others: ``[n, C]`` or ``[n]``, means over draws.
    """
    p, q = _pair(probs, others)
    return float(np.mean(p.argmax(1) == q.argmax(1)))


def total_variation(probs: Any, others: Any) -> float:
    """Mean over rows of (1/2) sum_c |p_c - q_c| (Izmailov et al. 2021, arXiv:2104.14421), in [0, 1].

    probs, others: ``[n, C]`` or ``[n]``, means over draws.
    """
    return float(np.mean(row_total_variation(probs, others)))


def row_total_variation(probs: Any, others: Any) -> np.ndarray:
    """(1/2) sum_c |p_c - q_c| of each row: ``[n]``. probs, others: ``[n, C]`` or ``[n]``."""
    p, q = _pair(probs, others)
    return np.abs(p - q).sum(1) / 2


def _pair(probs: Any, others: Any) -> tuple[np.ndarray, np.ndarray]:
    p, q = probabilities(probs), probabilities(others)
    same_shape("others", q, "probs", p)
    return p, q
