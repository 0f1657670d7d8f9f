"""Functions drawn from a prior (or a posterior) over a grid of one input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._style import BLUE, SKY, array, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def functions(x: Any, f: Any, *, shown: int = 15, unit: str = "data units", ax: Any = None) -> np.ndarray:
    """Draws of functions over one input, with the central 50 % and 95 % of all draws, in a panel for each network.

    x ``[n]`` or ``[n, 1]``: a grid, in order. f ``[..., n]``: values of each draw there, such as the ``"y_mean"`` of
    ``prior_draws``; or ``{title: f}``, panels side by side (widths); or ``{row: {title: f}}``, rows of panels (depths).
    shown: how many draws are lines. unit: of y. ax: an Axes for each panel. Titles give the standard deviation over draws,
    its mean over the grid. Panels share the vertical axis, which ends where the widest 95 % do: draws beyond are cut off.
    Returns the Axes ``[rows, columns]``. Raises ValueError for other shapes.
    """
    table = _table(f)
    x = array(x)
    x = x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
    if x.ndim != 1 or len(x) < 2 or (np.diff(x) <= 0).any():
        raise ValueError(f"x: expected a grid of one input in order, [n] or [n, 1] of at least 2, got shape {x.shape}")
    values = {place: _draws(x, of_panel) for place, of_panel in table.items()}
    rows, columns = 1 + max(i for i, _, _ in values), 1 + max(j for _, j, _ in values)
    axes = _axes(rows, columns, ax)
    bands = []
    for (i, j, title), draws in values.items():
        band = np.quantile(draws, [0.025, 0.25, 0.75, 0.975], axis=0)
        bands.append(band)
        _panel(axes[i, j], x, draws[:shown], band)
        axes[i, j].set_title(f"{title}sd {draws.std(0).mean():.3g}", fontsize="medium")
    low, high = np.min(bands), np.max(bands)
    margin = 0.05 * (high - low) or 1.0
    for panel in axes.flat:
        panel.set(xlim=(x[0], x[-1]), ylim=(low - margin, high + margin))
    for panel in axes[-1]:
        panel.set_xlabel("x")
    for panel in axes[:, 0]:
        panel.set_ylabel(f"f(x) [{unit}]")
    legend(axes[0, -1])
    return axes


def _panel(ax: Axes, x: np.ndarray, lines: np.ndarray, band: np.ndarray) -> None:
    ax.fill_between(x, band[0], band[3], color=SKY, alpha=0.25, lw=0, label="95% of draws")
    ax.fill_between(x, band[1], band[2], color=SKY, alpha=0.45, lw=0, label="50% of draws")
    for k, line in enumerate(lines):
        ax.plot(x, line, color=BLUE, lw=0.8, alpha=0.7, label="draws" if k == 0 else None)


def _table(f: Any) -> dict[tuple[int, int, str], Any]:
    """What each panel shows, by row, column and the start of its title."""
    if not isinstance(f, Mapping):
        return {(0, 0, ""): f}
    if not any(isinstance(v, Mapping) for v in f.values()):
        return {(0, j, f"{name}: "): v for j, (name, v) in enumerate(f.items())}
    return {
        (i, j, f"{row}, {name}: "): v
        for i, (row, of_row) in enumerate(f.items())
        for j, (name, v) in enumerate(of_row.items())
    }


def _draws(x: np.ndarray, f: Any) -> np.ndarray:
    """``[draw, n]``."""
    values = array(f)
    if values.ndim < 2 or values.shape[-1] != len(x):
        raise ValueError(f"f: expected [..., n] with n = {len(x)}, as x, got {values.shape}; plot one output at a time")
    return values.reshape(-1, len(x))


def _axes(rows: int, columns: int, ax: Any) -> np.ndarray:
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=(1.2 + 2.9 * columns, 0.5 + 2.3 * rows), layout="constrained")
        return figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = np.ravel(ax)
    if len(axes) != rows * columns:
        raise ValueError(
            f"ax: expected {rows * columns} Axes, one a panel, got {len(axes)}; pass plt.subplots({rows}, {columns})"
        )
    return axes.reshape(rows, columns)
