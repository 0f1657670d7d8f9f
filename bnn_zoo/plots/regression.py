"""Predictions of numbers against their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import coverage_curve
from ._style import BLUE, ORANGE, SKY, array, axes_or_new, by_model, legend, look, unit_square

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = np.linspace(0.05, 0.95, 19)


def intervals(draws: Any, y: Any, *, prob: float = 0.9, unit: str = "data units", ax: Axes | None = None) -> Axes:
    """Predictive median and central interval of every row against its truth, rows sorted by truth.

    draws ``[..., n]``: predictive draws of y, noise included. y ``[n]``. prob: mass of the interval. unit: of y, for the
    axis. Rows whose truth lies outside are coloured; the title gives the share inside. Raises ValueError if n differs.
    """
    draws, y = array(draws), array(y)
    if y.ndim != 1 or draws.ndim < 2 or draws.shape[-1] != len(y):
        raise ValueError(f"expected draws [..., n] and y [n], got {draws.shape} and {y.shape}; plot one output at a time")
    if not 0 < prob < 1:
        raise ValueError(f"expected prob between 0 and 1, got {prob}; write prob=0.9 for the central 90 %")
    order = np.argsort(y, kind="stable")
    low, median, high = np.quantile(draws.reshape(-1, len(y))[:, order], [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0)
    y, row = y[order], np.arange(len(y))
    inside = (low <= y) & (y <= high)
    ax = axes_or_new(ax)
    width = float(np.clip(200 / len(y), 0.4, 4))
    for chosen, colour, label in ((inside, SKY, "truth inside"), (~inside, ORANGE, "truth outside")):
        if chosen.any():
            ax.vlines(row[chosen], low[chosen], high[chosen], color=colour, lw=width, label=f"{prob:.0%} interval,\n{label}")
    ax.plot(row, median, ".", color="white", mec=BLUE, mew=0.8, ms=max(3.0, 1.5 * width), label="predictive median")
    ax.plot(row, y, color="black", lw=1.2, label="truth")
    ax.set(
        xlabel="row, sorted by truth",
        ylabel=f"y [{unit}]",
        title=f"{inside.mean():.0%} of {len(y)} rows in {prob:.0%} intervals",
    )
    return legend(ax)


def coverage(draws: Any, y: Any, *, levels: Any = LEVELS, ax: Axes | None = None) -> Axes:
    """Calibration of a regression: the share of rows inside each central interval against its nominal level.

    draws ``[..., n]`` or ``{model: draws}``: predictive draws, noise included. y ``[n]``. levels: between 0 and 1. Above
    the diagonal a model is too cautious, below it too sure. Raises ValueError if n differs.
    """
    ax = unit_square(axes_or_new(ax))
    for i, (name, of_model) in enumerate(by_model(draws).items()):
        ax.plot(levels, coverage_curve(of_model, y, levels), ms=4, label=name, **look(i))
    ax.set(xlabel="nominal level of the central interval", ylabel="share of rows inside")
    return legend(ax, many=40)
