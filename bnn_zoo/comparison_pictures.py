"""The pictures of a comparison, as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import export, plots
from .data import Table

if TYPE_CHECKING:
    from .comparison import Outcome


def pictures(table: Table, outcomes: Mapping[str, Outcome], out: Path) -> None:
    """The pictures people look at first, as PNG files in ``out``. Points have no trace, no ranks, no leave-one-out."""
    y, unit = table.y_test.double().numpy() * table.y_scale + table.y_mean, table.target.replace("$", r"\$")
    if table.classes:
        ax = plots.reliability({name: o.prediction.mean for name, o in outcomes.items()}, table.y_test)
    else:
        natural = {n: o.draws.double() * table.y_scale + table.y_mean for n, o in outcomes.items()}
        figure, axes = plots.panels(len(outcomes))
        for (name, draws), ax in zip(natural.items(), axes, strict=False):
            plots.intervals(draws, y, unit=unit, ax=ax).set_title(name)
        axes[0].set_ylim(_usual([ax.dataLim.intervaly for ax in axes[: len(natural)]]))
        figure.savefig(out / "intervals.png", dpi=100)
        ax = plots.coverage(natural, y)
    _save(ax, out / "calibration.png")
    drawn = {name: o for name, o in outcomes.items() if o.posterior.draws.draws > 1}  # a point has neither trace nor LOO
    for name, o in drawn.items():
        f = o.prediction.f if o.prediction.f.dim() == 3 else o.prediction.f[..., -1]
        f = f.double() * table.y_scale + table.y_mean if not table.classes else f
        _save(plots.function_trace(f, unit=unit)[0], out / f"{name}-trace.png")
        if o.posterior.draws.chains > 1:
            _save(plots.function_rank(f)[0], out / f"{name}-rank.png")
    if len(drawn) > 1:
        _compare_picture(drawn, out)


def _usual(limits: list[Any]) -> tuple[float, float]:
    """Limits that half of the panels need or more, a little wider: one that is far off does not squeeze the others."""
    low, high = (float(np.median([each[k] for each in limits])) for k in (0, 1))
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def _compare_picture(outcomes: Mapping[str, Outcome], out: Path) -> None:
    """Leave-one-out comparison on the training rows (ArviZ), as a table and as a picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pareto-k warnings: they are in the table's columns
        table = export.compare({name: export.load(out / f"{name}.nc") for name in outcomes})
    table.to_csv(out / "loo.csv")
    _save(plots.compare(table), out / "compare.png")


def _save(ax: Any, path: Path) -> None:
    """Write the figure that ``ax`` belongs to."""
    ax.figure.savefig(path, dpi=100)
