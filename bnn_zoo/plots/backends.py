"""Several posteriors of one model beside each other: what they cost, and whether they say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import convergence
from ..metrics import agreement, row_total_variation, total_variation
from ._draws import attributes, by_model, function_values, probabilities
from ._style import BLUE, PALETTE, axes_or_new, axes_pair, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def efficiency(
    models: Mapping[str, Any], *, costs: Mapping[str, Mapping[str, float]] | None = None, ax: Any = None
) -> np.ndarray:
    """Effective draws of what the network computes, for a second and for 1,000 gradients: the least and the median.

    models: ``{backend: Posterior, InferenceData, DataTree, or f [chain, draw, …]}``. costs: ``{backend: {"seconds": …,
    "gradients": …}}``, needed for arrays; by default what the run says, warm-up included. ax: two Axes. Returns the Axes
    ``[2]``. ESS says how well draws stand for their own law and not whether that is the posterior: draws from a variational
    q are independent. Costs of 0 are left out. Raises KeyError where a cost is missing.
    """
    axes = axes_pair(ax, (10, 1.2 + 0.4 * len(models)))
    for i, (name, obj) in enumerate(models.items()):
        bulk = convergence(function_values(obj)).ess_bulk.numpy().ravel()
        cost = _cost(name, obj, costs or {})
        for panel, per in zip(axes, (cost["seconds"], cost["gradients"] / 1000), strict=True):
            if per > 0 and not np.isnan(bulk).all():
                least, middle = np.nanmin(bulk) / per, np.nanmedian(bulk) / per
                colour = PALETTE[i % len(PALETTE)]
                panel.plot([least, middle], [i, i], "-", color=colour, lw=2)
                panel.plot(least, i, "o", color=colour)
                panel.plot(middle, i, "o", mfc="white", color=colour)
    for panel, unit in zip(axes, ("second", "1,000 gradients"), strict=True):
        panel.set(xscale="log", xlabel=f"effective draws a {unit}\nleast (full) and median (open)")
        panel.set_yticks(range(len(models)), list(models))
        panel.set_ylim(len(models) - 0.5, -0.5)
        panel.grid(axis="x", alpha=0.3)
    return axes


def plot_agreement(reference: Any, others: Any, *, ax: Axes | None = None) -> Axes:
    """How far class probabilities are from a reference's, row by row: the share of rows within each total variation.

    reference: ``[…, n, classes]``, ``[n]`` of class 1, or an InferenceData or DataTree with predictions; leading axes are
    draws and are averaged. others: the same, or ``{model: …}``. The legend gives the share of rows of which both name the
    same class, and the mean total variation (Izmailov et al. 2021, arXiv:2104.14421). Raises ValueError if rows differ.
    """
    ax, p, widest = axes_or_new(ax), probabilities(reference).values, 0.0
    for i, (name, other) in enumerate(by_model(others).items()):
        q = probabilities(other).values
        distance = np.sort(row_total_variation(p, q))
        widest = max(widest, float(distance[-1]))
        share = np.arange(1, len(distance) + 1) / len(distance)
        label = f"{name}, agreement {agreement(p, q):.3f}, TV {total_variation(p, q):.3f}"
        ax.step(np.r_[0, distance, 1], np.r_[0, share, 1], where="post", color=PALETTE[i % len(PALETTE)], label=label)
    ax.set(xlabel="total variation from the reference", ylabel="share of rows within", ylim=(0, 1.02))
    ax.set_xlim(0, min(1.0, 1.2 * widest) or 1.0)
    return legend(ax)


def pairwise(models: Mapping[str, Any], *, unit: str = "data units", ax: Any = None) -> np.ndarray:
    """Every backend against every other: means of what the network computes below the diagonal, their spread above.

    models: ``{backend: f [chain, draw, n] or [chain, draw, n, classes], Posterior, InferenceData or DataTree}`` at the same
    rows; a dot is a row (of classes, a row and class), x the column's backend and y the row's. Below, the title is the root
    mean square of the difference, in posterior sds of the two; for classes agreement and total variation. Above, it is the
    median ratio of sds, row's over column's: below 1 the row's backend is surer. unit: of f. ax: as many Axes as pairs.
    Returns the Axes ``[backend, backend]``. Raises ValueError for fewer than two backends or different rows.
    """
    draws = {name: function_values(f) for name, f in models.items()}
    shapes = {f.shape[2:] for f in draws.values()}
    if len(draws) < 2 or len(shapes) > 1:
        raise ValueError(f"expected two backends or more at the same rows, got {list(draws)} with shapes {sorted(shapes)}")
    means = {name: f.mean((0, 1)) for name, f in draws.items()}
    sds = {name: f.std((0, 1)) for name, f in draws.items()}
    axes = _square(len(draws), ax)
    limits = [_limits(list(values.values())) for values in (means, sds)]
    for i, row in enumerate(draws):
        for j, column in enumerate(draws):
            panel = axes[i, j]
            if i == j:
                panel.axis("off")
                said = f"{row}\n\nmean sd {sds[row].mean():.3g}" if sds[row].any() else f"{row}\n\na point"
                panel.text(0.5, 0.5, said, ha="center", va="center", transform=panel.transAxes, fontsize="large")
                continue
            shown, ends = (means, limits[0]) if i > j else (sds, limits[1])
            panel.plot(ends, ends, "--", color="0.6", lw=1)
            panel.plot(shown[column].ravel(), shown[row].ravel(), ".", color=BLUE, ms=3, alpha=0.6)
            panel.set(xlim=ends, ylim=ends, aspect="equal")
            title = _difference(means, sds, row, column) if i > j else _ratio(sds[row], sds[column])
            panel.set_title(title, fontsize="small")
    axes[-1, 0].set(xlabel=f"mean of f [{unit}]", ylabel=f"mean of f [{unit}]")
    axes[0, -1].set(xlabel=f"sd of f [{unit}]", ylabel=f"sd of f [{unit}]")
    return axes


def _difference(means: Mapping[str, np.ndarray], sds: Mapping[str, np.ndarray], row: str, column: str) -> str:
    p, q = means[row], means[column]
    if p.ndim == 2 and p.shape[1] > 1 and np.allclose(p.sum(1), 1, atol=1e-3):
        return f"agree {agreement(p, q):.3f}, TV {total_variation(p, q):.3f}"
    spread = np.sqrt((sds[row] ** 2 + sds[column] ** 2).mean() / 2)
    apart = np.sqrt(np.square(p - q).mean())
    return f"apart {apart / spread:.2g} sd" if spread > 0 else f"apart {apart:.2g}"


def _ratio(row: np.ndarray, column: np.ndarray) -> str:
    both = (row > 0) & (column > 0)
    return f"sd ratio {np.median(row[both] / column[both]):.2g}" if both.any() else "a point has no sd"


def _limits(values: list[np.ndarray]) -> tuple[float, float]:
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _cost(name: str, obj: Any, costs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    if name in costs:
        return {unit: float(costs[name][unit]) for unit in ("seconds", "gradients")}
    said = attributes(obj)
    missing = [key for key in ("gradients", "tuning_time", "sampling_time") if key not in said]
    if missing:
        raise KeyError(
            f"{name}: expected {missing} in its attributes; pass costs={{{name!r}: {{'seconds': …, 'gradients': …}}}}"
        )
    return {"seconds": said["tuning_time"] + said["sampling_time"], "gradients": float(said["gradients"])}


def _square(count: int, ax: Any) -> np.ndarray:
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=(1 + 2.3 * count, 0.6 + 2.3 * count), layout="constrained")
        return figure.subplots(count, count, squeeze=False)
    axes = np.ravel(ax)
    if len(axes) != count**2:
        raise ValueError(
            f"ax: expected {count**2} Axes, one a pair, got {len(axes)}; pass plt.subplots({count}, {count})[1]"
        )
    return axes.reshape(count, count)
