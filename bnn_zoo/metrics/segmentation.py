"""Metrics of images with a class for each pixel, as the segmentation literature has them.

``probs [n, *places, C]`` and ``y [n, *places]``; places where y is ``ignore`` (void, 255) are left out. The share of right
pixels over all classes, "global accuracy", is :func:`accuracy`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._checks import labelled


def class_accuracy(probs: Any, y: Any, *, ignore: int | None = None) -> np.ndarray:
    """For each class the share of its pixels that are found, ``[C]``; NaN for a class that y does not hold.

    Their mean, ``np.nanmean``, is the class-average accuracy of Badrinarayanan, Kendall and Cipolla 2017.
    """
    counts = confusion(probs, y, ignore=ignore)
    with np.errstate(invalid="ignore"):
        return np.diag(counts) / counts.sum(1)


def iou(probs: Any, y: Any, *, ignore: int | None = None) -> np.ndarray:
    """For each class intersection over union, ``[C]``: right pixels / pixels of it in y or predicted (Jaccard index).

    NaN for a class in neither; their mean, ``np.nanmean``, is the mean IoU. Everingham et al. 2010, section 4.
    """
    counts = confusion(probs, y, ignore=ignore)
    right = np.diag(counts)
    with np.errstate(invalid="ignore"):
        return right / (counts.sum(0) + counts.sum(1) - right)


def confusion(probs: Any, y: Any, *, ignore: int | None = None) -> np.ndarray:
    """Pixels of class i whose most probable class is j, ``[C, C]``."""
    from sklearn.metrics import confusion_matrix

    probs, y = labelled(probs, y, ignore)
    return np.asarray(confusion_matrix(y, probs.argmax(1), labels=np.arange(probs.shape[1])), dtype=np.float64)
