"""Arrays in, ArviZ out: the container, its names and dimensions, netCDF, and leave-one-out comparison.

ArviZ 0.x (the last for Python 3.11) keeps groups in ``arviz.InferenceData``, 1.x in ``xarray.DataTree``, and they name
some statistics differently. Every such difference lives here (``arviz_major``, ``_wrap``, ``compare``) and in the one
table of plot names in plots.py; the ``.nc`` files are the same. Groups follow the InferenceData schema,
https://python.arviz.org/en/stable/schema/schema.html. ArviZ takes seconds to import, so functions import it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from .diagnostics import ess_bulk

if TYPE_CHECKING:
    import pandas as pd

WITHOUT_DRAWS = ("observed_data", "constant_data", "history")  # ends of the names of groups that hold no draws
RESERVED = ("chain", "draw", "sample")
KERNEL_AXES = {3: ("k",), 4: ("kh", "kw"), 5: ("kd", "kh", "kw")}
LOO_DRAWS = 25  # fewer leave under five in the tail
LOO_ROWS = 500  # relative ESS is averaged over at most so many rows
COMPARE_COLUMNS = ["rank", "elpd", "p", "elpd_diff", "weight", "se", "dse", "warning", "high_k"]

Groups = Mapping[str, Mapping[str, Any]]
Dims = Mapping[str, Sequence[str]]


def arviz_major() -> int:
    """The installed ArviZ's major version: 0 (InferenceData) or 1 and above (DataTree). Does not import ArviZ."""
    return int(version("arviz").split(".")[0])


def weight_dims(name: str, shape: Sequence[int]) -> list[str]:
    """Dimension names of a site named after a torch parameter, one per axis, always prefixed by the site.

    A weight of 2 axes has out and in; a convolution's 3, 4, 5 axes are out, in, then k, or kh and kw, or kd, kh and kw;
    the one axis of a weight or bias is out; anything else is ``{name}_dim_{i}``, ArviZ's own default.
    """
    axes = len(shape)
    if axes == 1 and name.endswith(("weight", "bias")):
        return [f"{name}_out"]
    if name.endswith("weight") and (axes == 2 or axes in KERNEL_AXES):
        return [f"{name}_{axis}" for axis in ("out", "in", *KERNEL_AXES.get(axes, ()))]
    return [f"{name}_dim_{i}" for i in range(axes)]


def to_inference_data(
    groups: Groups,
    *,
    dims: Dims | None = None,
    coords: Mapping[str, Any] | None = None,
    group_dims: Mapping[str, Dims] | None = None,
    group_coords: Mapping[str, Mapping[str, Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    group_attrs: Mapping[str, Mapping[str, Any]] | None = None,
    sample_dims: Sequence[str] = ("chain", "draw"),
) -> Any:
    """``{group: {variable: array}}`` as ``arviz.InferenceData`` (ArviZ 0.x) or ``xarray.DataTree`` (1.x), uncopied.

    groups
        Tensors or arrays ``[*sample_dims, *shape]``; ``[*shape]`` in groups whose name ends in ``observed_data``,
        ``constant_data`` or ``history``, and for a scalar in ``sample_stats``. Empty groups are left out. Half
        precision is widened to float32, which netCDF has; all other types are kept.
    dims, coords
        ``{variable: [names of the axes after sample_dims]}``, by default ``{variable}_dim_{i}``, and ``{dimension:
        labels}``, by default 0, 1, …. A log likelihood has lost its event axes: it takes the first names of its y.
    group_dims, group_coords
        The same for single groups, over dims and coords: ``{"predictions": {"obs": [900, 901]}}``. Names are exact:
        ``warmup_posterior`` takes nothing from ``posterior``.
    attrs, group_attrs
        Facts for the whole and for single groups, beside the schema's own (``created_at``, ``creation_library``,
        ``inference_library``, …). Whatever netCDF cannot hold is written as JSON.

    Raises ValueError for axes that do not fit their names or labels, repeated labels or dimensions, a variable named
    like a dimension, and names with "/" (they mean a path in a DataTree).
    """
    standard = _standard_attrs()
    attrs = {**standard, **(attrs or {})}
    standard = {key: attrs[key] for key in standard}
    datasets = {}
    for name in filter(groups.get, groups):
        _refuse_slash("group", name)
        of_group = {**standard, **(group_attrs or {}).get(name, {})}
        names = {**(dims or {}), **(group_dims or {}).get(name, {})}
        labels = {**(coords or {}), **(group_coords or {}).get(name, {})}
        datasets[name] = _dataset(name, groups[name], names, labels, of_group, tuple(sample_dims))
    return _wrap(datasets, _netcdf_attrs(attrs))


def groups(obj: Any) -> list[str]:
    """Names of the groups of an InferenceData or DataTree, warm-up groups among them."""
    return list(obj.children) if isinstance(obj, xr.DataTree) else list(obj.groups())


def group(obj: Any, name: str) -> xr.Dataset:
    """One group of an InferenceData or DataTree as a Dataset. Raises KeyError, with the names there are, without it."""
    if name not in groups(obj):
        raise KeyError(f"expected a group {name!r}, got {groups(obj)}; make it when exporting")
    return obj[name].to_dataset() if isinstance(obj, xr.DataTree) else obj[name]


def save(obj: Any, path: str | os.PathLike[str]) -> Path:
    """Write all groups to one netCDF file, uncompressed (weights are noise: compression costs 20 times, gains 10 %).

    The file appears under its name only when it is complete. Returns the path. Raises FileExistsError if it exists.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; save under another name, or remove it first: Path({str(path)!r}).unlink()")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    tree = xr.DataTree.from_dict({name: group(obj, name) for name in groups(obj)})
    tree.attrs.update(obj.attrs)
    try:
        tree.to_netcdf(unfinished, engine="h5netcdf")
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def load(path: str | os.PathLike[str]) -> Any:
    """Read a netCDF file of any ArviZ version, all of it into memory, so that the file is closed afterwards."""
    found = xr.open_groups(path, engine="h5netcdf")
    datasets = {}
    for name, dataset in found.items():
        with dataset:
            datasets[name.strip("/")] = dataset.load()
    root = datasets.pop("", xr.Dataset())
    return _wrap(datasets, root.attrs)


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
    az = _arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Estimated shape parameter of Pareto", UserWarning)
        score = az.loo(_wrap({"log_likelihood": array.to_dataset(name="y")}, {}), pointwise=True, reff=reff)
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

    Raises ValueError if the models were scored on different numbers of rows or not pointwise.
    """
    scores = {name: loo(m, var_name) if _is_container(m) else m for name, m in models.items()}
    rows = {name: int(score.n_data_points) for name, score in scores.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"expected models scored on the same rows, got {rows} rows; export them with the same data")
    for name, score in scores.items():
        if getattr(score, "pareto_k", None) is None:
            raise ValueError(f"expected the pointwise ELPD of {name!r}, got a sum; use bnn_zoo.export.loo")
    az = _arviz()
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


def _dataset(
    group: str, variables: Mapping[str, Any], dims: Dims, coords: Mapping[str, Any], attrs: dict, sample_dims: tuple
) -> xr.Dataset:
    """One group: every variable gets its dimensions, every dimension its labels."""
    lead = () if group.endswith(WITHOUT_DRAWS) else sample_dims
    data: dict[str, tuple] = {}
    labels: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        _refuse_slash("variable", name)
        array = _array(f"{group}/{name}", value)
        constant = array.ndim == 0 and group.endswith("sample_stats")
        full = () if constant else (*lead, *_event_dims(group, name, array.ndim - len(lead), dims))
        if len(full) != array.ndim or len(set(full)) != len(full):
            raise ValueError(
                f"{group}/{name}: expected one name for each axis, all different, got {list(full)} for shape "
                f"{list(array.shape)}; axes are {list(lead)}, then what dims= says"
            )
        for dim, size in zip(full, array.shape, strict=True):
            if dim not in labels:
                labels[dim] = _labels(group, dim, coords[dim]) if dim in coords else np.arange(size)
            if len(labels[dim]) != size:
                others = [n for n, (d, _) in data.items() if dim in d]
                against = f"{len(labels[dim])} labels in coords" if dim in coords else f"{len(labels[dim])} in {others}"
                raise ValueError(
                    f"{group}/{name}: dimension {dim!r} has {size} entries but {against}; correct the labels, name the "
                    f"dimension differently in dims=, or give this group labels of its own in group_coords="
                )
        data[name] = (full, array)
    clash = sorted(set(data) & {*labels, *RESERVED})
    if clash:
        raise ValueError(f"{group}: expected variables not named like a dimension, got {clash}; rename these sites or dims")
    if lead:
        attrs = {"sample_dims": list(lead), **attrs}
    return xr.Dataset(data, {dim: (dim, values) for dim, values in labels.items()}, _netcdf_attrs(attrs))


def _event_dims(group: str, name: str, axes: int, dims: Dims) -> list[str]:
    """Names of the axes after the sample dimensions: the given ones, or ``{name}_dim_{i}``."""
    if name not in dims:
        return [f"{name}_dim_{i}" for i in range(axes)]
    return list(dims[name])[: max(axes, 0)] if group.endswith("log_likelihood") else list(dims[name])


def _array(where: str, value: Any) -> np.ndarray:
    """A NumPy view of a tensor or array; half precision becomes float32."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.asarray(value)
    if array.dtype == object:
        raise ValueError(f"{where}: expected a tensor or an array of numbers, got {type(value).__name__} of ragged objects")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _labels(group: str, dim: str, values: Any) -> np.ndarray:
    """The labels of one dimension as a vector without repeats."""
    labels = _array(f"{group}, coords[{dim!r}]", values)
    if labels.ndim != 1:
        raise ValueError(f"{group}: coords[{dim!r}] should be one list of labels, got shape {list(labels.shape)}")
    unique, count = np.unique(labels, return_counts=True)
    if len(unique) < len(labels):
        repeated = unique[count > 1][:5].tolist()
        raise ValueError(f"{group}: coords[{dim!r}] should not repeat labels, got {repeated} more than once; number them")
    return labels


def _refuse_slash(what: str, name: str) -> None:
    if "/" in name:
        raise ValueError(f"expected a {what} name without '/', got {name!r}; write {name.replace('/', '.')!r}")


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


def _standard_attrs() -> dict[str, str]:
    """What the schema recommends to say about where a file comes from."""
    from . import __version__

    return {
        "created_at": datetime.now(UTC).isoformat(),
        "creation_library": "bnn_zoo",
        "creation_library_version": __version__,
        "creation_library_language": "Python",
        "inference_library": "bnn_zoo",
        "inference_library_version": __version__,
    }


def _netcdf_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """netCDF attributes are strings, numbers and lists of two or more; a bool becomes 0 or 1, the rest JSON."""

    def safe(value: Any) -> Any:
        if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            value = value.tolist()
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, (str, float)) or (isinstance(value, int) and abs(value) < 2**63):
            return value
        if isinstance(value, (list, tuple)) and len(value) > 1 and {type(v) for v in value} in ({str}, {int}, {float}):
            return list(value)
        return json.dumps(value, default=str)

    return {key: safe(value) for key, value in attrs.items()}


def _is_container(obj: Any) -> bool:
    return isinstance(obj, _arviz().InferenceData if arviz_major() < 1 else xr.DataTree)


def _wrap(datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> Any:
    """The container of the installed ArviZ, with the datasets as its groups."""
    if arviz_major() < 1:
        return _arviz().InferenceData(attrs=attrs, **datasets)
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs.update(attrs)
    return tree


def _arviz() -> Any:
    """ArviZ, imported without the announcement of 1.0 that 0.23 makes once a day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        import arviz
    return arviz
