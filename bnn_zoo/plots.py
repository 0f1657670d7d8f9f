"""Draws and predictions as pictures: arrays in, matplotlib Axes out. Nothing here runs inference.

Weights of a network are not identified, so traces and ranks are drawn of its predictions at a few rows. Every function
draws on ``ax`` if given one, otherwise on a Figure of its own that pyplot does not know: nothing leaks, nothing pops up;
show it in a notebook with ``ax.figure`` and keep it with ``ax.figure.savefig``. Arrays may be tensors. Colours are those
of Okabe and Ito (2008), safe for the colour-blind. Matplotlib and ArviZ take seconds to import, so functions import them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .diagnostics import rhat
from .metrics import coverage_curve, ece, reliability_curve

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
LEVELS = np.linspace(0.05, 0.95, 19)
BAND = 0.95  # simultaneous probability of the band in function_rank
SIMULATIONS = 4000
MANY = 12  # chains and more get no legend


def intervals(draws: Any, y: Any, *, prob: float = 0.9, unit: str = "data units", ax: Axes | None = None) -> Axes:
    """Predictive median and central interval of every row against its truth, rows sorted by truth.

    draws ``[..., n]``: predictive draws of y, noise included. y ``[n]``. prob: mass of the interval. unit: of y, for the
    axis. Rows whose truth lies outside are coloured; the title gives the share inside. Raises ValueError if n differs.
    """
    draws, y = _array(draws), _array(y)
    if y.ndim != 1 or draws.ndim < 2 or draws.shape[-1] != len(y):
        raise ValueError(f"expected draws [..., n] and y [n], got {draws.shape} and {y.shape}; plot one output at a time")
    if not 0 < prob < 1:
        raise ValueError(f"expected prob between 0 and 1, got {prob}; write prob=0.9 for the central 90 %")
    order = np.argsort(y, kind="stable")
    low, median, high = np.quantile(draws.reshape(-1, len(y))[:, order], [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0)
    y, row = y[order], np.arange(len(y))
    inside = (low <= y) & (y <= high)
    ax = _axes(ax)
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
    return _legend(ax)


def coverage(draws: Any, y: Any, *, levels: Any = LEVELS, ax: Axes | None = None) -> Axes:
    """Calibration of a regression: the share of rows inside each central interval against its nominal level.

    draws ``[..., n]`` or ``{model: draws}``: predictive draws, noise included. y ``[n]``. levels: between 0 and 1. Above
    the diagonal a model is too cautious, below it too sure. Raises ValueError if n differs.
    """
    ax = _unit_square(_axes(ax))
    for i, (name, of_model) in enumerate(_models(draws).items()):
        ax.plot(levels, coverage_curve(of_model, y, levels), "o-", color=PALETTE[i % len(PALETTE)], ms=4, label=name)
    ax.set(xlabel="nominal level of the central interval", ylabel="share of rows inside")
    return _legend(ax)


def reliability(probs: Any, y: Any, *, bins: int = 15, ax: Axes | None = None) -> Axes:
    """Reliability diagram of a classifier: accuracy against confidence, in ``bins`` of confidence.

    probs ``[..., n, classes]`` or ``{model: probs}``: class probabilities; leading axes are draws and are averaged. y
    ``[n]``: class indices. Marker areas show how many rows a bin has; the legend gives the expected calibration error
    (Guo et al. 2017, arXiv:1706.04599). Raises ValueError if n differs or rows do not sum to one.
    """
    ax = _unit_square(_axes(ax))
    for i, (name, p) in enumerate(_models(probs).items()):
        p = _array(p)
        p = p.reshape(-1, *p.shape[-2:]).mean(0)
        confidence, accuracy, count = reliability_curve(p, y, bins)
        colour = PALETTE[i % len(PALETTE)]
        seen = count > 0
        ax.plot(confidence[seen], accuracy[seen], color=colour, label=f"{name}, ECE {ece(p, y, bins):.3f}")
        ax.scatter(confidence[seen], accuracy[seen], s=8 + 150 * count[seen] / count.sum(), color=colour, zorder=3)
    ax.set(xlabel="confidence (mean probability of the predicted class)", ylabel="accuracy")
    return _legend(ax)


def function_trace(f: Any, rows: Sequence[int] | None = None, *, unit: str = "data units", ax: Any = None) -> np.ndarray:
    """Traces of the network's output at a few rows, a colour per chain, with R-hat in the titles.

    f ``[chain, draw, n]``. rows: which of the n; by default four, evenly spaced. unit: of f. ax: as many Axes as rows.
    Returns the Axes ``[rows]``. Raises ValueError for other shapes, IndexError for rows that are not there.
    """
    f, rows = _chosen(f, rows)
    axes = _axes_per_row(ax, rows)
    for panel, row, values, r in zip(axes, rows, np.moveaxis(f, -1, 0), rhat(f).tolist(), strict=True):
        for chain, (trace, colour) in enumerate(zip(values, _chain_colours(len(values)), strict=True)):
            panel.plot(trace, lw=0.6, alpha=0.8, color=colour, label=f"chain {chain}")
        panel.set(title=_title(row, r), ylabel=f"f [{unit}]", xlim=(0, max(1, f.shape[1] - 1)))
    axes[-1].set_xlabel("draw")
    _legend(axes[0])
    return axes


def function_rank(f: Any, rows: Sequence[int] | None = None, *, ax: Any = None) -> np.ndarray:
    """Rank plots of the network's output at a few rows: is each chain's share of all draws even, from low to high?

    For every chain the ECDF of its draws' fractional ranks among all chains' draws, less the uniform one; flat at 0 if
    all chains sample the same law. The grey band holds all of it with probability 0.95 for INDEPENDENT draws: a line
    outside says that the chain differs or that its draws are correlated (thin them to find out). Säilynoja, Bürkner and
    Vehtari 2022, doi:10.1007/s11222-022-10090-6.

    Arguments, return value and errors are those of function_trace; ValueError also for a single chain.
    """
    f, rows = _chosen(f, rows)
    chains, draws, _ = f.shape
    if chains < 2:
        raise ValueError("expected two chains or more to rank against each other, got one; use function_trace")
    axes = _axes_per_row(ax, rows, sharey=True)
    grid = np.linspace(0, 1, min(draws, 100) + 1)
    band = _rank_band(chains, draws, grid)
    for panel, row, values, r in zip(axes, rows, np.moveaxis(f, -1, 0), rhat(f).tolist(), strict=True):
        panel.fill_between(grid, -band, band, color="0.88", lw=0, label=f"{BAND:.0%}, independent draws")
        for chain, (difference, colour) in enumerate(zip(_rank_ecdf(values, grid), _chain_colours(chains), strict=True)):
            panel.plot(grid, difference, lw=1.3, color=colour, label=f"chain {chain}")
        panel.axhline(0, color="0.4", lw=0.8, zorder=1)
        panel.set(title=_title(row, r), ylabel="ECDF − uniform", xlim=(0, 1))
    axes[-1].set_xlabel("fractional rank among all chains")
    _legend(axes[0])
    return axes


def panels(count: int, columns: int = 2) -> tuple[Figure, np.ndarray]:
    """A figure of ``count`` Axes in rows of ``columns``: ``(figure, axes [count])``."""
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    figure = Figure(figsize=(5.5 * min(count, columns), 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, min(count, columns), squeeze=False, sharey=True).ravel()
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def compare(table: pd.DataFrame, **options: Any) -> Axes:
    """ArviZ's comparison plot of what export.compare gave, in nats: every model's ELPD with its standard error under
    0.23, its difference from the best with the standard error of that under 1.x. options go to ``az.plot_compare``.
    """
    if arviz_major() < 1:
        table = table.rename(columns={"elpd": "elpd_loo", "p": "p_loo"}).assign(scale="log")
    else:
        table = table.assign(elpd_diff=-table["elpd_diff"])
    figure = arviz_plot("plot_compare", table, **options)
    figure.set_size_inches(7, 1.5 + 0.5 * len(table))
    return figure.axes[0]


def _array(x: Any) -> np.ndarray:
    return x.detach().cpu().double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, dtype=np.float64)


def _models(values: Any) -> dict[str, Any]:
    return dict(values) if isinstance(values, Mapping) else {"model": values}


def _chosen(f: Any, rows: Sequence[int] | None) -> tuple[np.ndarray, list[int]]:
    """The draws ``[chain, draw, rows]`` at the chosen rows, and these."""
    f = _array(f)
    if f.ndim != 3:
        raise ValueError(f"expected f [chain, draw, n], got shape {f.shape}; take one output, f[..., 0], or write f[None]")
    chosen = np.linspace(0, f.shape[-1] - 1, min(4, f.shape[-1])).round() if rows is None else np.asarray(rows)
    return f[..., chosen.astype(int)], chosen.astype(int).tolist()


def _rank_ecdf(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """``[chain, grid]``: share of the chain's fractional ranks (average ties) up to z, less z; values ``[chain, draw]``."""
    everything = np.sort(values, axis=None)
    below, up_to = np.searchsorted(everything, values, "left"), np.searchsorted(everything, values, "right")
    ranks = (below + up_to) / (2 * values.size)
    return np.stack([np.searchsorted(np.sort(r), grid, "right") / len(r) for r in ranks]) - grid


def _rank_band(chains: int, draws: int, grid: np.ndarray) -> np.ndarray:
    """Half-width at each z: k times the standard deviation of a chain's ECDF if its ranks are a random pick from all.

    sd(z)^2 = z (1 - z) / draws (N - draws) / (N - 1) for N draws in all; k, from simulation, makes the band hold a whole
    line with probability 1 - (1 - BAND) / chains, and so all lines with BAND at least (Bonferroni).
    """
    total = chains * draws
    sd = np.sqrt(grid * (1 - grid) / draws * (total - draws) / (total - 1))
    cells = np.diff(np.floor(total * grid + 0.5)).astype(int)
    pick = np.random.default_rng(0).multivariate_hypergeometric(cells, draws, SIMULATIONS, method="marginals")
    deviation = np.abs(pick.cumsum(1)[:, :-1] / draws - grid[1:-1]) / sd[1:-1]
    return np.quantile(deviation.max(1), 1 - (1 - BAND) / chains) * sd


def _title(row: int, r: float) -> str:
    return f"row {row}, R-hat {'undefined' if np.isnan(r) else f'{r:.3f}'}"


def _chain_colours(chains: int) -> Any:
    from matplotlib import colormaps

    return PALETTE[:chains] if chains <= len(PALETTE) else colormaps["viridis"](np.linspace(0, 0.95, chains))


def _axes(ax: Axes | None) -> Axes:
    from matplotlib.figure import Figure

    return Figure(figsize=(7, 4), layout="constrained").subplots() if ax is None else ax


def _axes_per_row(ax: Any, rows: list[int], sharey: bool = False) -> np.ndarray:
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


def _unit_square(ax: Axes) -> Axes:
    ax.plot([0, 1], [0, 1], "--", color="0.5", lw=1, label="calibrated")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return ax


def _legend(ax: Axes) -> Axes:
    """A legend beside the data, unless it would be a long list of chains."""
    if len(ax.get_legend_handles_labels()[1]) <= MANY:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0}
        for line in ax.legend(**place, frameon=False, fontsize="small").get_lines():
            line.set(linewidth=1.5, alpha=1)
    return ax


# The table of plot names: ArviZ 1.x on the left, what draws the same under 0.23 on the right.


class Old(NamedTuple):
    """A plot of ArviZ 0.23: its name, settings that make it what 1.x draws, and the arguments that changed their names."""

    name: str
    settings: dict[str, Any] = {}
    renamed: dict[str, str] = {}


SAME = "autocorr compare energy khat mcse pair parallel rank"
OLD_PLOTS = {f"plot_{name}": Old(f"plot_{name}") for name in SAME.split()} | {
    "plot_dist": Old("plot_posterior", renamed={"ci_prob": "hdi_prob"}),
    "plot_ess": Old("plot_ess", {"kind": "local"}),
    "plot_ess_evolution": Old("plot_ess", {"kind": "evolution"}),
    "plot_forest": Old("plot_forest"),
    "plot_loo_pit": Old("plot_loo_pit", renamed={"var_names": "y"}),
    "plot_ppc_dist": Old("plot_ppc", renamed={"num_samples": "num_pp_samples"}),
    "plot_ppc_pit": Old("plot_bpv", {"kind": "u_value"}),
    "plot_prior_posterior": Old("plot_dist_comparison"),
    "plot_rank_dist": Old("plot_trace", {"kind": "rank_bars"}),
    "plot_ridge": Old("plot_forest", {"kind": "ridgeplot", "combined": True}),
    "plot_trace": Old("plot_trace"),
    "plot_trace_dist": Old("plot_trace"),
}


def arviz_major() -> int:
    """The installed ArviZ's major version; as in export, which is no lower floor and so cannot be imported here."""
    return int(version("arviz").split(".")[0])


def arviz_plot(name: str, obj: Any, **options: Any) -> Figure:
    """Any plot of ArviZ under its name in 1.x, also with 0.23; pyplot's list of open figures stays as it was.

    name: ``"plot_trace_dist"``, ``"plot_rank"``, ``"plot_energy"``, ``"plot_forest"``, ``"plot_ppc_dist"``,
    ``"plot_dist"``, … (all that work in both: ``OLD_PLOTS``). obj: what that plot takes: an InferenceData or DataTree, an
    ELPDData (plot_khat), or for plot_forest and plot_ridge also ``{model: InferenceData}``. options: ``var_names``,
    ``coords`` and ``filter_vars`` mean the same in both; a plot draws 40 panels at most, so choose weights by
    ``coords={"0.weight_out": [0, 1]}``. Raises ValueError for a name that the installed ArviZ does not have.
    """
    import arviz
    import matplotlib.pyplot as plt

    open_before = set(plt.get_fignums())
    options = {"backend": "matplotlib", **options}
    try:
        if arviz_major() < 1:
            figure = _old_plot(arviz, name, obj, options)
        elif not name.startswith("plot_") or name not in dir(arviz):
            raise ValueError(f"expected a plot of ArviZ {version('arviz')}, got {name!r}; take one of {sorted(OLD_PLOTS)}")
        else:
            figure = getattr(arviz, name)(obj, **options).viz["figure"].item()
        figure.set_layout_engine("constrained")
        return figure
    finally:
        for number in set(plt.get_fignums()) - open_before:
            plt.close(number)


def _old_plot(arviz: Any, name: str, obj: Any, options: dict[str, Any]) -> Figure:
    """The counterpart in ArviZ 0.23, whose own use of deprecated Matplotlib and pandas is not the caller's concern."""
    if name not in OLD_PLOTS:
        raise ValueError(
            f"expected a plot that ArviZ {version('arviz')} has too, got {name!r}; take one of {sorted(OLD_PLOTS)}"
        )
    old = OLD_PLOTS[name]
    options = {**old.settings, **{old.renamed.get(key, key): value for key, value in options.items()}}
    if old.name == "plot_forest" and isinstance(obj, dict):
        obj, options["model_names"] = list(obj.values()), list(obj)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"arviz\.")
        drawn = getattr(arviz, old.name)(obj, **options)
    return np.ravel(drawn)[0].figure
