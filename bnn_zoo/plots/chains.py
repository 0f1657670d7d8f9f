"""Do chains agree? Traces, ranks and R-hat of the network's output, since its weights are not identified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import convergence, rhat
from ._draws import by_model, function_values
from ._style import PALETTE, axes_pair, axes_per_row, legend

BAND = 0.95  # simultaneous probability of the band in function_rank
SIMULATIONS = 4000


def function_trace(f: Any, rows: Sequence[int] | None = None, *, unit: str = "data units", ax: Any = None) -> np.ndarray:
    """Traces of the network's output at a few rows, a colour per chain, with R-hat in the titles.

    f ``[chain, draw, n]``, or a Posterior (at training rows), InferenceData or DataTree (at its test rows). rows: which of
    the n; by default four, evenly spaced. unit: of f. ax: as many Axes as rows. Returns the Axes ``[rows]``. Raises
    ValueError for other shapes, IndexError for rows that are not there.
    """
    f, rows = _chosen(f, rows)
    axes = axes_per_row(ax, rows)
    for panel, row, values, r in zip(axes, rows, np.moveaxis(f, -1, 0), rhat(f).tolist(), strict=True):
        for chain, (trace, colour) in enumerate(zip(values, _chain_colours(len(values)), strict=True)):
            panel.plot(trace, lw=0.6, alpha=0.8, color=colour, label=f"chain {chain}")
        panel.set(title=_title(row, r), ylabel=f"f [{unit}]", xlim=(0, max(1, f.shape[1] - 1)))
    axes[-1].set_xlabel("draw")
    legend(axes[0])
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
    axes = axes_per_row(ax, rows, sharey=True)
    grid = np.linspace(0, 1, min(draws, 100) + 1)
    band = _rank_band(chains, draws, grid)
    for panel, row, values, r in zip(axes, rows, np.moveaxis(f, -1, 0), rhat(f).tolist(), strict=True):
        panel.fill_between(grid, -band, band, color="0.88", lw=0, label=f"{BAND:.0%}, independent draws")
        for chain, (difference, colour) in enumerate(zip(_rank_ecdf(values, grid), _chain_colours(chains), strict=True)):
            panel.plot(grid, difference, lw=1.3, color=colour, label=f"chain {chain}")
        panel.axhline(0, color="0.4", lw=0.8, zorder=1)
        panel.set(title=_title(row, r), ylabel="ECDF − uniform", xlim=(0, 1))
    axes[-1].set_xlabel("fractional rank among all chains")
    legend(axes[0])
    return axes


def function_convergence(f: Any, *, points: int = 20, ax: Any = None) -> np.ndarray:
    """R-hat and effective draws of the network's output as a run goes on: the worst of all rows and the median.

    f ``[chain, draw, …]``, a Posterior (at 100 training rows), InferenceData or DataTree (at its test rows), or ``{backend:
    f}``. points: at how many lengths of the run, evenly spaced. ax: two Axes. R-hat should fall below 1.01, and effective
    draws rise in a straight line; where they level off, chains are in different places. Single variables:
    ``arviz_plot("plot_ess_evolution", idata, …)``. Returns the Axes ``[2]``. Raises ValueError below four draws.
    """
    axes, highest = axes_pair(ax), 1.05
    for i, (name, obj) in enumerate(by_model(f).items()):
        values = function_values(obj)
        chains, draws = values.shape[:2]
        if draws < 4:
            raise ValueError(f"{name}: expected four draws of a chain or more, got {draws}")
        ends = np.unique(np.linspace(max(4, draws / points), draws, points).round().astype(int))
        found = [convergence(values.reshape(chains, draws, -1)[:, :end]) for end in ends]
        rhats, bulk = (np.stack([np.asarray(c[k]) for c in found]) for k in (0, 1))
        colour = PALETTE[i % len(PALETTE)]
        for panel, each, worst in ((axes[0], rhats, np.max), (axes[1], bulk, np.min)):
            known = ~np.isnan(each).all(0)
            label = f"{name}" if known.any() else f"{name}, undefined"
            middle = np.median(each[:, known], 1) if known.any() else np.full(len(ends), np.nan)
            extreme = worst(each[:, known], 1) if known.any() else middle
            panel.plot(chains * ends, extreme, color=colour, lw=1.5, label=label)
            panel.plot(chains * ends, middle, "--", color=colour, lw=1)
            if worst is np.max and known.any() and np.isfinite(later := extreme[len(ends) // 2 :]).any():
                highest = max(highest, later[np.isfinite(later)].max())
    axes[0].axhline(1.01, color="0.5", lw=0.8)
    axes[0].set(xlabel="draws of all chains", ylabel="R-hat of f: worst, median dashed")
    axes[1].set(xlabel="draws of all chains", ylabel="effective draws of f: least, median dashed")
    axes[0].set_ylim(0.99, 1 + 1.5 * (highest - 1))  # what the first few draws say would squeeze the rest
    axes[1].set_ylim(bottom=0)
    legend(axes[1])
    return axes


def _chosen(f: Any, rows: Sequence[int] | None) -> tuple[np.ndarray, list[int]]:
    """The draws ``[chain, draw, rows]`` at the chosen rows, and these."""
    f = function_values(f)
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
