"""How good predictions are: arrays in, numbers out. Knows no model; takes tensors (any device) or arrays.

Draws come as ``[chain, draw, n]`` or ``[sample, n]``: all axes before the rows are sample axes, and all samples weigh the
same. ``y`` is ``[n]``, or ``[n, k]`` with k outputs, which then count as so many more rows. Class probabilities are
``[n, C]``, or ``[n]``, the probability of class 1 of two; ``[n, *places, C]`` where each pixel has a class, and
``ignore=255`` leaves out what has no label. Wrong shapes, NaN, labels that are no class, rows of probabilities that do not
sum to one, and empty input raise ValueError.

scikit-learn is slow to import, so it is imported where it is used.
"""

from .classification import (
    accuracy,
    agreement,
    aurc,
    brier,
    ece,
    nll_probs,
    reliability_curve,
    risk_coverage,
    row_total_variation,
    total_variation,
)
from .ood import aupr, auroc, confidence, mutual_information, ood_report, predictive_entropy
from .regression import LEVELS, calibration_error, coverage, coverage_curve, crps, lppd, nll, pit, rmse
from .segmentation import class_accuracy, confusion, iou

__all__ = [
    "LEVELS",
    "accuracy",
    "agreement",
    "aupr",
    "aurc",
    "auroc",
    "brier",
    "calibration_error",
    "class_accuracy",
    "confidence",
    "confusion",
    "coverage",
    "coverage_curve",
    "crps",
    "ece",
    "iou",
    "lppd",
    "mutual_information",
    "nll",
    "nll_probs",
    "ood_report",
    "pit",
    "predictive_entropy",
    "reliability_curve",
    "risk_coverage",
    "rmse",
    "row_total_variation",
    "total_variation",
]
