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

PAIRS, LONG = 6, 8
"""Most backends that are drawn against each other; draws of a chain from which R-hat is drawn."""


def pictures(table: Table, outcomes: Mapping[str, Outcome], out: Path) -> None:
    """The pictures people look at first, as PNG files in ``out``. Points have no trace, no ranks, no leave-one-out.

    Of classes also risk-coverage.png and agreement.png, of numbers pit.png; of several backends pairwise.png.
    """
    y, unit = table.y_test.double().numpy() * table.y_scale + table.y_mean, table.target.replace("$", r"\$")
    if table.classes:
        probs = {name: o.prediction.mean for name, o in outcomes.items()}
        ax = plots.reliability(probs, table.y_test)
        _save(plots.plot_risk_coverage(probs, table.y_test), out / "risk-coverage.png")
        if len(probs) > 1:
            first, *others = probs
            _save(plots.plot_agreement(probs[first], {n: probs[n] for n in others}), out / "agreement.png")
    else:
        natural = {n: o.draws.double() * table.y_scale + table.y_mean for n, o in outcomes.items()}
        figure, axes = plots.panels(len(outcomes))
        for (name, draws), ax in zip(natural.items(), axes, strict=False):
            plots.intervals(draws, y, unit=unit, ax=ax).set_title(name)
        axes[0].set_ylim(_usual([ax.dataLim.intervaly for ax in axes[: len(natural)]]))
        figure.savefig(out / "intervals.png", dpi=100)
        ax = plots.coverage(natural, y)
        _save(plots.pit(natural, y), out / "pit.png")
    _save(ax, out / "calibration.png")
    drawn = {name: o for name, o in outcomes.items() if o.posterior.draws.draws > 1}  # a point has neither trace nor LOO
    for name, o in drawn.items():
        f = _function(table, o)
        _save(plots.function_trace(f, unit=unit)[0], out / f"{name}-trace.png")
        if o.posterior.draws.chains > 1:
            _save(plots.function_rank(f)[0], out / f"{name}-rank.png")
    _of_all(table, outcomes, drawn, out)
    if len(drawn) > 1:
        _compare_picture(drawn, out)


def _function(table: Table, o: Outcome) -> Any:
    """f at the test rows ``[chain, draw, n]`` in the data's own units; of several classes the probability of the last."""
    f = o.prediction.f if o.prediction.f.dim() == 3 else o.prediction.f[..., -1]
    return f if table.classes else f.double() * table.y_scale + table.y_mean


def _of_all(table: Table, outcomes: Mapping[str, Outcome], drawn: Mapping[str, Outcome], out: Path) -> None:
    """All backends in one picture each: convergence, cost, and pairs of the first few."""
    long = {name: _function(table, o) for name, o in drawn.items() if o.posterior.draws.draws >= LONG}
    if long:
        _save(plots.function_convergence(long)[0], out / "convergence.png")
        costs = {n: {"seconds": outcomes[n].row["seconds"], "gradients": outcomes[n].row["gradients"]} for n in long}
        _save(plots.efficiency(long, costs=costs)[0], out / "efficiency.png")
    if len(outcomes) > 1:
        few = {name: outcomes[name].prediction.f for name in list(outcomes)[:PAIRS]}
        if not table.classes:
            few = {name: f.double() * table.y_scale + table.y_mean for name, f in few.items()}
        unit = "probability" if table.classes else table.target.replace("$", r"\$")
        _save(plots.pairwise(few, unit=unit)[0, 0], out / "pairwise.png")


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
