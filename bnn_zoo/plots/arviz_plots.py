"""ArviZ's own plots under one name each, whichever version is installed."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
