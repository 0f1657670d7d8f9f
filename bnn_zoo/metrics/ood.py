"""What the model does not know: uncertainty of single rows, and rows out of distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import array_of, check_simplex, in_and_out, probabilities, row_entropy


def confidence(probs: Any) -> np.ndarray:
    """Probability of the most probable class of each row: from 1/C, never below it, to 1.

    Of probabilities averaged over draws with the rows in one order; a mean confidence below 1/C in a report has averaged
    something else, such as logarithms or rows that were shuffled between draws. probs: ``[n, C]`` or ``[n]``.
    """
    probs = probabilities(probs)
    return probs.max(1).clip(1 / probs.shape[1], 1)  # rounded rows may sum to a little less than one


def predictive_entropy(probs: Any) -> np.ndarray:
    """Entropy of the predictive distribution of each row, in nats, at most log C. probs: ``[n, C]`` or ``[n]``."""
    return row_entropy(probabilities(probs))


def mutual_information(probs_draws: Any) -> np.ndarray:
    """Mutual information of label and weights for each row, in nats: H[mean of p] - mean of H[p] (Houlsby et al. 2011).

    The epistemic part of :func:`predictive_entropy`. probs_draws: ``[..., n, C]``. Returns ``[n]``.
    """
    probs = array_of("probs_draws", probs_draws)
    if probs.ndim < 3:
        raise ValueError(f"probs_draws: expected [..., n, C], got shape {probs.shape}; pass the draws, not their mean")
    probs = check_simplex("probs_draws", probs).reshape(-1, *probs.shape[-2:])
    return np.maximum(row_entropy(probs.mean(0)) - row_entropy(probs).mean(0), 0)


def auroc(scores_in: Any, scores_out: Any) -> float:
    """Probability that a row out of distribution scores above one within, ties one half: 1 is perfect, 0.5 is chance.

    scores_in, scores_out: ``[n]`` and ``[m]``; a higher score means more out of distribution, such as the entropy.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*in_and_out(scores_in, scores_out)))


def aupr(scores_in: Any, scores_out: Any) -> float:
    """Area under the precision-recall curve with rows out of distribution as positives: the average precision.

    The step-wise sum of scikit-learn, not the trapezoid. Chance is their share m/(n + m), so only numbers with the same
    n and m compare. scores_in, scores_out: ``[n]`` and ``[m]``; a higher score means more out of distribution.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*in_and_out(scores_in, scores_out)))


def ood_report(probs_in: Any, probs_out: Any) -> dict[str, dict[str, float]]:
    """How well three scores tell rows within the distribution from rows outside it.

    ``{score: {mean_in, mean_out, auroc, aupr}}`` for ``one_minus_confidence``, ``entropy`` and, if both come as draws,
    ``mutual_information``; ``pandas.DataFrame(report).T`` is its table. probs_in, probs_out: ``[..., n, C]`` and
    ``[..., m, C]``, leading axes being draws of the weights, which are averaged as probabilities, row by row; or ``[n]``
    and ``[m]``, of class 1. Raises ValueError if classes differ or only one has draws.
    """
    sets = [array_of("probs_in", probs_in), array_of("probs_out", probs_out)]
    with_draws = [p.ndim > 2 for p in sets]
    means = [probabilities(p.reshape(-1, *p.shape[-2:]).mean(0) if p.ndim > 2 else p) for p in sets]
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
