"""What every plot shares: colours, axes, legends, and arrays from whatever came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK)
MARKERS = ("o", "s", "^", "D", "v")
MANY = 12  # chains and more get no legend


def array(x: Any) -> np.ndarray:
    return x.detach().cpu().double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, dtype=np.float64)


def panels(count: int, columns: int = 2) -> tuple[Figure, np.ndarray]:
    """A figure of ``count`` Axes in rows of ``columns``: ``(figure, axes [count])``."""
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(5.5 * min(count, columns), 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, min(count, columns), squeeze=False, sharey=True).ravel()
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def axes_or_new(ax: Axes | None) -> Axes:
    from matplotlib.figure import Figure

    return Figure(figsize=(7, 4), layout="constrained").subplots() if ax is None else ax


def axes_pair(ax: Any, size: tuple[float, float] = (10, 4)) -> np.ndarray:
    """Two Axes side by side, or those that are given."""
    from matplotlib.figure import Figure

    axes = np.ravel(Figure(figsize=size, layout="constrained").subplots(1, 2) if ax is None else ax)
    if len(axes) != 2:
        raise ValueError(f"expected two Axes, got {len(axes)}; pass plt.subplots(1, 2)[1]")
    return axes


def axes_per_row(ax: Any, rows: list[int], sharey: bool = False) -> np.ndarray:
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=(7, 0.6 + 1.5 * len(rows)), layout="constrained")
        ax = figure.subplots(len(rows), squeeze=False, sharex=True, sharey=sharey)
    axes = np.ravel(ax)
    if len(axes) != len(rows):
        raise ValueError(
            f"expected one Axes for each of {len(rows)} rows, got {len(axes)}; pass plt.subplots({len(rows)})[1]"
        )
    return axes


def unit_square(ax: Axes) -> Axes:
    ax.plot([0, 1], [0, 1], "--", color="0.5", lw=1, label="calibrated")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return ax


def look(i: int) -> dict[str, Any]:
    """Colour and marker of the i-th of several curves: where colours are used up, they come again with another marker."""
    return {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i // len(PALETTE) % len(MARKERS)]}


def legend(ax: Axes, many: int = MANY) -> Axes:
    """A legend beside the data, unless it would be a list of more than ``many``, of chains say."""
    if len(ax.get_legend_handles_labels()[1]) <= many:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
        for line in ax.legend(**place, frameon=False, fontsize="small").get_lines():
            line.set(linewidth=1.5, alpha=1)
    return ax
