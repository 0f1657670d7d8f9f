"""Leave-one-out scores and comparisons with ArviZ, the same under its 0.x and 1.x."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import ess_bulk
from .container import arviz_major, arviz_quietly, group, groups, is_container, wrap

if TYPE_CHECKING:
    import pandas as pd

LOO_DRAWS = 25  # fewer leave under five in the tail
LOO_ROWS = 500  # relative ESS is averaged over at most so many rows
COMPARE_COLUMNS = ["rank", "elpd", "p", "elpd_diff", "weight", "se", "dse", "warning", "high_k"]


def loo(obj: Any, var_name: str | None = None, *, reff: float | None = None) -> Any:
    """Leave-one-out expected log predictive density in nats, summed over rows, as ArviZ's pointwise ELPDData.

    Pareto-smoothed importance sampling (Vehtari, Gelman and Gabry 2017, doi:10.1007/s11222-016-9696-4). Its warning of
    high Pareto k does not stop anybody: look at ``.warning``, ``.pareto_k`` against ``.good_k``, or ``compare``.

    var_name: which variable of ``log_likelihood``; needed if there are several. reff: effective draws per draw; by
    default the mean of ``ess_bulk / draws`` of the log likelihood. (ArviZ's default walks over all weights, at 0.3 ms
    each.) Raises KeyError without log_likelihood, ValueError if var_name does not name one variable of it,
    for fewer than 25 draws and for log likelihoods that are not finite.
    """
    found = group(obj, "log_likelihood")
    if var_name not in found if var_name else len(found) != 1:
        raise ValueError(f"expected var_name= to be one of {list(found)}, got {var_name!r}; name the variable to score")
    array = found[var_name or next(iter(found))].transpose("chain", "draw", ...)
    array = array.copy(data=np.array(array, dtype=np.float64, order="C"))
    rows = array.values.reshape(*array.shape[:2], -1)
    if array.sizes["chain"] * array.sizes["draw"] < LOO_DRAWS:
        raise ValueError(f"loo expects {LOO_DRAWS} draws or more to fit a tail, got {rows.shape[:2]}; draw more")
    bad = np.flatnonzero(~np.isfinite(rows).all((0, 1)))
    if len(bad):
        raise ValueError(
            f"loo expects finite log likelihoods, got others in {len(bad)} rows, the first {bad[0]}; mend these"
        )
    reff = _relative_ess(rows) if reff is None else reff
    stuck = _break_ties(rows, reff)
    az = arviz_quietly()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto", UserWarning)
        score = az.loo(wrap({"log_likelihood": array.to_dataset(name="y")}, {}), pointwise=True, reff=reff)
    if stuck.any():
        score.pareto_k.values[stuck.reshape(array.shape[2:])] = np.inf
        score.warning = True
    return score


def compare(models: Mapping[str, Any], *, var_name: str | None = None, method: str = "stacking") -> pd.DataFrame:
    """Models from best to worst by leave-one-out ELPD; the same columns under every version of ArviZ.

    models: ``{name: InferenceData, DataTree or what loo gave}``, all scored on the same rows. method: of the weights,
    ``"stacking"`` (Yao et al. 2018, doi:10.1214/17-BA1091), ``"pseudo-BMA"`` or ``"BB-pseudo-BMA"``.

    Columns: ``rank`` from 0; ``elpd`` and its standard error ``se``, in nats; ``p``, the effective parameters;
    ``elpd_diff``, how much WORSE than the best, so 0 for the best and otherwise positive, with its standard error
    ``dse``; ``weight``; ``high_k``, the number of rows with an unreliable Pareto k, and ``warning``, whether there are
    any. What ArviZ warned of lies in ``.attrs["warnings"]``. (``se`` is sqrt(n/(n-1)) larger under 1.x.)

    Raises ValueError if the models were scored on different numbers of rows, on other y (where ``observed_data`` tells) or
    not pointwise; TypeError for what is neither a container nor a score.
    """
    if not models:
        raise ValueError("expected at least one model to compare, got none: write {'name': idata}")
    for name, model in models.items():
        if not is_container(model) and getattr(model, "n_data_points", None) is None:
            kind = type(model).__name__
            raise TypeError(
                f"expected InferenceData of {name!r}, got {kind}: a posterior gives it with .to_inference_data()"
            )
    _refuse_other_targets({name: m for name, m in models.items() if is_container(m)}, var_name)
    scores = {name: loo(m, var_name) if is_container(m) else m for name, m in models.items()}
    rows = {name: int(score.n_data_points) for name, score in scores.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"expected models scored on the same rows, got {rows} rows; export them with the same data")
    for name, score in scores.items():
        if getattr(score, "pareto_k", None) is None:
            raise ValueError(f"expected the pointwise ELPD of {name!r}, got a sum; use bnn_zoo.export.loo")
    az = arviz_quietly()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if arviz_major() < 1:
            table = az.compare(scores, ic="loo", method=method, scale="log")
            table = table.rename(columns={"elpd_loo": "elpd", "p_loo": "p"})
        else:
            table = az.compare(scores, method=method, round_to="none")
            table["elpd_diff"] = 0.0 - table["elpd_diff"]
    table["high_k"] = [int((scores[name].pareto_k > scores[name].good_k).sum()) for name in table.index]
    table["warning"] = table["high_k"] > 0
    table = table[COMPARE_COLUMNS].astype(dict.fromkeys(["elpd", "p", "elpd_diff", "weight", "se", "dse"], float))
    noise = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    table.attrs["warnings"] = sorted({str(w.message) for w in caught if not issubclass(w.category, noise)})
    return table


def _refuse_other_targets(models: Mapping[str, Any], var_name: str | None) -> None:
    """Raise ValueError where two containers of as many rows hold other observed values of what is scored."""
    first: tuple[str, np.ndarray] | None = None
    for name, model in models.items():
        observed = group(model, "observed_data") if "observed_data" in groups(model) else {}
        scored = group(model, "log_likelihood") if "log_likelihood" in groups(model) else {}
        variable = var_name or next(iter(scored), None)
        if variable is None or variable not in observed:
            continue
        y = np.asarray(observed[variable].values, dtype=np.float64).ravel()
        if first is None:
            first = (name, y)
        elif y.size == first[1].size and not np.allclose(y, first[1], rtol=1e-5, atol=1e-6 * np.nanstd(y), equal_nan=True):
            rows = int((~np.isclose(y, first[1], rtol=1e-5, atol=1e-6 * np.nanstd(y), equal_nan=True)).sum())
            raise ValueError(
                f"expected models of the same {variable} in the same order and unit, got other values in {rows} of {y.size} "
                f"rows of {name!r} than of {first[0]!r}: fit them to the same rows; densities of other values do not compare"
            )


def _relative_ess(draws: np.ndarray) -> float:
    """Mean over rows of ess_bulk / draws, from about ``LOO_ROWS`` of the rows of ``[chain, draw, n]``; 1 if undefined."""
    rows = draws[..., :: max(1, draws.shape[-1] // LOO_ROWS)]
    relative = float(ess_bulk(rows).nanmean()) / (draws.shape[0] * draws.shape[1])
    return relative if isfinite(relative) else 1.0


def _break_ties(rows: np.ndarray, reff: float) -> np.ndarray:
    """Add noise of 1e-9 nats, in place, to rows ``[chain, draw, n]`` whose tail of lowest values is one repeated number.

    ArviZ 1.x refuses to fit a tail without any spread. Returns ``[n]``: where draws repeat, so that the fit means nothing;
    not where the log likelihood is constant (a saturated classifier), for then leave-one-out is exact.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    tail = int(min(0.2 * len(flat), 3 * np.sqrt(len(flat) / reff))) - 1
    tied = np.partition(flat, tail - 1, axis=0)[tail - 1] == flat.min(0)
    stuck = tied & (flat.max(0) > flat.min(0))
    flat[:, tied] += 1e-9 * np.random.default_rng(0).normal(size=(len(flat), int(tied.sum())))
    return stuck
