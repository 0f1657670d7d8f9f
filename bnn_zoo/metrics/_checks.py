"""What metrics expect of their arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

PROBABILITY_SLACK = 2e-3  # rows of half-precision softmax sum to one within this


def array_of(name: str, values: Any, finite: bool = True) -> np.ndarray:
    array = values.detach().cpu().double().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, np.float64)
    if array.size == 0 or array.ndim == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {array.shape}; pass predictions for some data")
    bad = np.isnan(array) if not finite else ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}: expected numbers, got {array[where]} at {where} ({bad.sum()} in all); drop those rows")
    return array


def same_shape(name: str, array: np.ndarray, other: str, reference: np.ndarray) -> None:
    if array.shape != reference.shape:
        raise ValueError(f"{name}: expected {other}'s shape {reference.shape}, got {array.shape}; reshape one of the two")


def flat_samples(draws: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draws with their sample axes as one, ``[S, *y.shape]``, and y."""
    draws, y = array_of("draws", draws), array_of("y", y)
    if draws.ndim <= y.ndim or draws.shape[-y.ndim :] != y.shape:
        raise ValueError(f"draws: expected [..., *y.shape] with y {y.shape}, got {draws.shape}; put sample axes first")
    return draws.reshape(-1, *y.shape), y


def in_and_out(scores_in: Any, scores_out: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (0 within, 1 out of distribution) and scores of all rows."""
    inside, outside = array_of("scores_in", scores_in).ravel(), array_of("scores_out", scores_out).ravel()
    return np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])


def check_simplex(name: str, probs: np.ndarray) -> np.ndarray:
    total = probs.sum(-1)
    if probs.min() < -PROBABILITY_SLACK or np.abs(total - 1).max() > PROBABILITY_SLACK:
        worst = total.flat[np.abs(total - 1).argmax()]
        got = f"a row that sums to {worst:.4g} and a smallest value of {probs.min():.4g}"
        raise ValueError(f"{name}: expected probabilities that sum to one, got {got}; take the softmax of logits first")
    return probs


def probabilities(probs: Any) -> np.ndarray:
    """``[n, C]``, from that or from the probability ``[n]`` of class 1."""
    probs = array_of("probs", probs)
    if probs.ndim == 1:
        probs = np.stack([1 - probs, probs], axis=1)
    if probs.ndim != 2 or probs.shape[1] < 2:
        raise ValueError(f"probs: expected [n, C] or [n], got shape {probs.shape}; average over draws, squeeze [n, 1]")
    return check_simplex("probs", probs)


def labelled(probs: Any, y: Any, ignore: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[n, C]`` and integer labels ``[n]``: places of images as so many rows, without those of ``ignore``."""
    probs, y = array_of("probs", probs), array_of("y", y)
    if probs.ndim > 2 and y.shape == probs.shape[:-1]:
        probs, y = probs.reshape(-1, probs.shape[-1]), y.ravel()
    probs = probabilities(probs)
    if y.shape != probs.shape[:1]:
        raise ValueError(f"y: expected labels {probs.shape[:1]}, got shape {y.shape}; squeeze it or take argmax of one-hot")
    if ignore is not None:
        probs, y = probs[y != ignore], y[y != ignore]
        if not len(y):
            raise ValueError(f"y: expected at least one label, got ignore={ignore} in all places")
    bad = (y != y.round()) | (y < 0) | (y >= probs.shape[1])
    if bad.any():
        raise ValueError(
            f"y: expected labels 0 ... {probs.shape[1] - 1}, got {y[bad][0]:g}; number the classes from 0, and leave out "
            "what has no label (metrics of classes take ignore=255)"
        )
    return probs, y.astype(np.int64)


def checked_bins(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"bins: expected 1 or more, got {bins}; write bins=15")
    return bins


def row_entropy(probs: np.ndarray) -> np.ndarray:
    p = np.maximum(probs, 0)
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)
