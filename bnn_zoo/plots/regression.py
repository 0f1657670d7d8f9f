"""Predictions of numbers against their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import coverage_curve
from ..metrics import pit as transform
from ._draws import by_model, predictive
from ._style import BLUE, ORANGE, SKY, axes_or_new, legend, look, unit_square

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = np.linspace(0.05, 0.95, 19)


def intervals(draws: Any, y: Any = None, *, prob: float = 0.9, unit: str = "data units", ax: Axes | None = None) -> Axes:
    """Predictive median and central interval of every row against its truth, rows sorted by truth.

    draws ``[..., n]``: predictive draws of y, noise included, and y ``[n]``; or an InferenceData or DataTree (its test rows)
    or a Posterior (its training rows), which bring their y. prob: mass of the interval. unit: of y, for the
    axis. Rows whose truth lies outside are coloured; the title gives the share inside. Raises ValueError if n differs.
    """
    draws, y, _ = predictive(draws, y)
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


def coverage(draws: Any, y: Any = None, *, levels: Any = LEVELS, ax: Axes | None = None) -> Axes:
    """Calibration of a regression: the share of rows inside each central interval against its nominal level.

    draws ``[..., n]``: predictive draws, noise included, and y ``[n]``; or an InferenceData or DataTree (its test rows) or a
    Posterior (its training rows), which bring their y; or ``{model: draws}``. levels: between 0 and 1. Above the diagonal a
    model is too cautious, below it too sure. Raises ValueError if n differs.
    """
    ax = unit_square(axes_or_new(ax))
    for i, (name, of_model) in enumerate(by_model(draws).items()):
        values, truth, rows = predictive(of_model, y)
        ax.plot(levels, coverage_curve(values, truth, levels), ms=4, label=_label(name, rows), **look(i))
    ax.set(xlabel="nominal level of the central interval", ylabel="share of rows inside")
    return legend(ax, many=40)


def pit(draws: Any, y: Any = None, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Histogram of the probability integral transform: where each y lies among its predictive draws, from 0 to 1.

    draws, y: as in coverage. Flat at 1 if calibrated, with 95 % of bins in the grey band for independent rows. A valley in
    the middle: too sure. A hill: too cautious. A slope: predictions too low (rising) or too high (falling). ArviZ's own, of
    training rows: ``arviz_plot("plot_ppc_pit", idata)``, ``"plot_loo_pit"``. Raises ValueError if n differs.
    """
    from scipy.stats import binom

    ax, edges, sizes = axes_or_new(ax), np.linspace(0, 1, bins + 1), []
    for i, (name, of_model) in enumerate(by_model(draws).items()):
        values, truth, rows = predictive(of_model, y)
        u = transform(values, truth).ravel()
        sizes.append(len(u))
        height = np.histogram(u, edges)[0] * bins / len(u)
        ax.stairs(height, edges, color=look(i)["color"], lw=1.8, label=_label(name, rows))
    low, high = binom.ppf([0.025, 0.975], min(sizes), 1 / bins) * bins / min(sizes)
    ax.axhspan(low, high, color="0.9", lw=0, zorder=0, label="95% of bins, calibrated")
    ax.axhline(1, color="0.5", lw=0.8, zorder=0.5)
    ax.set(xlabel="place of y among its predictive draws (PIT)", ylabel="density", xlim=(0, 1))
    ax.set_ylim(bottom=0)
    return legend(ax, many=40)


def _label(name: str, rows: str) -> str:
    return f"{name}, {rows}" if rows == "training rows" else name
