"""Weights of a layer: what the data did to the prior, and where a point estimate lies in the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ._draws import Sampled, is_container, site, sites
from ._style import BLUE, ORANGE, SKY, array, axes_or_new, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CUT = 0.002
"""Share of draws that may lie beyond each end of a histogram's axis: priors with heavy tails would fill it."""


def prior_posterior(obj: Any, name: str, *, prior: Any = None, bins: int = 60, ax: Axes | None = None) -> Axes:
    """Prior and posterior of all weights of a layer, as histograms over weights and draws.

    obj: a Posterior, InferenceData or DataTree, or ``{site: [chain, draw, *shape]}``. name: the layer's site, such as
    ``"0.weight"``. prior: by default the group ``prior`` of obj (``to_inference_data(prior=200)``); else what
    ``bz.prior_draws`` gave, or such a mapping. All weights are one histogram, so swapped units change nothing. Densities
    are of all draws, also of those few that lie beyond the axis. Single weights, a panel each:
    ``arviz_plot("plot_prior_posterior", idata, …)``.

    Raises KeyError where a site or its prior is missing, ValueError where their shapes differ.
    """
    given = obj if prior is None else prior
    if isinstance(given, Sampled) or (prior is None and not is_container(given)):
        raise KeyError(f"prior: expected draws of {name!r} from the prior; pass posterior.to_inference_data(prior=200)")
    before, after = site(given, name, "prior"), site(obj, name)
    if before.shape[2:] != after.shape[2:]:
        raise ValueError(f"prior of {name!r}: expected one of {after.shape[2:]}, as the posterior, got {before.shape[2:]}")
    ax = axes_or_new(ax)
    edges = _edges([before, after], bins)
    for values, colour, label in ((before, ORANGE, "prior"), (after, BLUE, "posterior")):
        _histogram(ax, values, edges, colour, f"{label}, sd {values.std():.3g}")
    ax.set(xlabel=f"{name}, {int(np.prod(after.shape[2:]))} weights", ylabel="density", xlim=(edges[0], edges[-1]))
    return legend(ax)


def weight_histogram(obj: Any, name: str, point: Any, *, bins: int = 60, ax: Axes | None = None) -> Axes:
    """All weights of a layer over all draws, and those of a point estimate, as histograms.

    obj, name: as in prior_posterior. point: a torch module or its state, the Posterior (InferenceData, DataTree) of MAP or
    of an ensemble, of which the first chain's last draw is taken, or ``{site: [*shape]}``. Raises KeyError and ValueError
    where the site is missing or has another shape.
    """
    after = site(obj, name)
    estimate = _point(point, name, after.shape[2:])
    ax = axes_or_new(ax)
    edges = _edges([after, estimate], bins)
    _histogram(ax, after, edges, BLUE, f"posterior, sd {after.std():.3g}")
    _histogram(ax, estimate, edges, ORANGE, f"point estimate, sd {estimate.std():.3g}")
    ax.set(xlabel=f"{name}, {estimate.size} weights", ylabel="density", xlim=(edges[0], edges[-1]))
    return legend(ax)


def filter_norms(obj: Any, name: str, point: Any = None, *, prob: float = 0.9, ax: Axes | None = None) -> Axes:
    """Posterior of each filter's or unit's norm, sorted by median, with the point estimate's norms.

    A filter is what goes into one output of the layer: the norm is over all axes of the site but the first. obj, name,
    point: as in weight_histogram. prob: mass of the central interval. The title says how many of the point's norms lie
    inside, where there is one. Units are in the order of obj and point: match them with ``diagnostics.align_units(…,
    to=point)`` first, unless all draws are near one mode. Raises as weight_histogram.
    """
    if not 0 < prob < 1:
        raise ValueError(f"expected prob between 0 and 1, got {prob}; write prob=0.9 for the central 90 %")
    after = site(obj, name)
    if after.ndim < 3:
        raise ValueError(f"{name!r}: expected a site with units, [chain, draw, units, …], got shape {after.shape}")
    norms = _norms(after, 2).reshape(-1, after.shape[2])
    low, median, high = np.quantile(norms, [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0)
    order, place = np.argsort(median, kind="stable"), np.arange(after.shape[2])
    ax = axes_or_new(ax)
    width = float(np.clip(200 / len(place), 0.6, 4))
    ax.vlines(place, low[order], high[order], color=SKY, lw=width, label=f"{prob:.0%} interval")
    ax.plot(place, median[order], ".", color=BLUE, label="posterior median")
    if point is not None:
        norm = _norms(_point(point, name, after.shape[2:]), 0)
        ax.plot(place, norm[order], "D", color=ORANGE, ms=4, label="point estimate")
        inside = (low <= norm) & (norm <= high)
        ax.set_title(f"{inside.sum()} of {len(place)} point estimates inside")
    ax.set(xlabel="unit, sorted by posterior median", ylabel=f"norm of {name}")
    ax.set_ylim(bottom=0)
    return legend(ax)


def _norms(w: np.ndarray, lead: int) -> np.ndarray:
    """Euclidean norm over all axes after the units: ``[*lead, units]``."""
    return np.sqrt(np.square(w.reshape(*w.shape[: lead + 1], -1)).sum(-1))


def _point(point: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The point estimate of a site, ``[*shape]``."""
    values = dict(point.named_parameters()) if isinstance(point, nn.Module) else sites(point)
    if name not in values:
        raise KeyError(f"point: expected {name!r}, got {list(values)}")
    w = array(values[name][:])
    if w.ndim == len(shape) + 2 and (isinstance(point, Sampled) or is_container(point)):
        w = w[0, -1]
    if w.shape != shape:
        raise ValueError(f"point: expected {name!r} of shape {shape}, got {w.shape}")
    return w


def _edges(arrays: list[np.ndarray], bins: int) -> np.ndarray:
    ends = np.array([np.quantile(a, [CUT, 1 - CUT]) for a in arrays])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def _histogram(ax: Axes, values: np.ndarray, edges: np.ndarray, colour: str, label: str) -> None:
    """A density of all values, those beyond the edges counted but not drawn."""
    height = np.histogram(values, edges)[0] / values.size / np.diff(edges)
    ax.stairs(height, edges, fill=True, color=colour, alpha=0.25)
    ax.stairs(height, edges, color=colour, lw=1.5, label=label)
