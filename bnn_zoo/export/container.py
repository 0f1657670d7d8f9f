"""Arrays in, ArviZ out: the container, its names and dimensions.

ArviZ 0.x (the last for Python 3.11) keeps groups in ``arviz.InferenceData``, 1.x in ``xarray.DataTree``, and they name
some statistics differently. Every such difference lives here (``arviz_major``, ``wrap``), in ``compare`` of loo.py, and
in the one table of plot names in plots/arviz_plots.py; the ``.nc`` files are the same. Groups follow the schema,
https://python.arviz.org/en/stable/schema/schema.html. ArviZ takes seconds to import, so functions import it.
"""

from __future__ import annotations

import importlib
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr

from .._scope import alone
from ..run import Stored
from .lazily import lazily
from .names import RESERVED

WITHOUT_DRAWS = ("observed_data", "constant_data", "history")  # ends of the names of groups that hold no draws
Groups = Mapping[str, Mapping[str, Any]]
Dims = Mapping[str, Sequence[str]]


def arviz_major() -> int:
    """The installed ArviZ's major version: 0 (InferenceData) or 1 and above (DataTree). Does not import ArviZ."""
    return int(version("arviz").split(".")[0])


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
    return wrap(datasets, _netcdf_attrs(attrs))


def groups(obj: Any) -> list[str]:
    """Names of the groups of an InferenceData or DataTree, warm-up groups among them."""
    return list(obj.children) if isinstance(obj, xr.DataTree) else list(obj.groups())


def group(obj: Any, name: str) -> xr.Dataset:
    """One group of an InferenceData or DataTree as a Dataset. Raises KeyError, with the names there are, without it."""
    if name not in groups(obj):
        raise KeyError(f"expected a group {name!r}, got {groups(obj)}; make it when exporting")
    return obj[name].to_dataset() if isinstance(obj, xr.DataTree) else obj[name]


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
    clash = sorted(set(data) & {*labels, *(RESERVED if lead else ())})
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


def _array(where: str, value: Any) -> Any:
    """A NumPy view of a tensor or array; half precision becomes float32. What lies on disk stays there."""
    if isinstance(value, Stored):
        return lazily(value)
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
    if not name:
        raise ValueError(f"expected a {what} name with at least one letter, got ''")
    if "/" in name:
        raise ValueError(f"expected a {what} name without '/', got {name!r}; write {name.replace('/', '.')!r}")


def _standard_attrs() -> dict[str, str]:
    """What the schema recommends to say about where a file comes from."""
    from .. import __version__

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


def is_container(obj: Any) -> bool:
    return isinstance(obj, arviz_quietly().InferenceData if arviz_major() < 1 else xr.DataTree)


def wrap(datasets: dict[str, xr.Dataset], attrs: dict[str, Any]) -> Any:
    """The container of the installed ArviZ, with the datasets as its groups."""
    if arviz_major() < 1:
        return arviz_quietly().InferenceData(attrs=attrs, **datasets)
    tree = xr.DataTree.from_dict(datasets)
    tree.attrs.update(attrs)
    return tree


@alone()
def arviz_quietly() -> Any:
    """ArviZ, imported without the announcement of 1.0 that 0.23 makes once a day."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        try:
            return importlib.import_module("arviz")
        except OSError:  # it notes the day in the user's folder, which cannot be written to: a temporary one will do
            import platformdirs

            with tempfile.TemporaryDirectory() as folder:
                with patch.object(platformdirs, "user_cache_dir", lambda *_, **__: folder):
                    return importlib.import_module("arviz")
