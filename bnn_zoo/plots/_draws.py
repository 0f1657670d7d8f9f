"""What the plots take: a Posterior, an InferenceData or DataTree, or arrays. One gate for all of them.

InferenceData (ArviZ 0.23) is a mapping of Datasets, DataTree (1.x) a mapping of trees, so neither needs ArviZ here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from ..types import Draws
from ._style import array


@runtime_checkable
class Sampled(Protocol):
    """A ``Posterior``: draws that know their model."""

    draws: Draws

    def function_draws(self) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def to_inference_data(self) -> Any: ...


class Predicted(NamedTuple):
    """Predictive draws or probabilities, the truth, and which rows they are of (empty where nothing tells)."""

    values: np.ndarray
    y: np.ndarray
    rows: str = ""


def is_container(obj: Any) -> bool:
    """An InferenceData or DataTree: groups of variables."""
    if isinstance(obj, xr.DataTree):
        return True
    return isinstance(obj, Mapping) and len(obj) > 0 and all(isinstance(v, xr.Dataset) for v in obj.values())


def by_model(obj: Any, name: str = "model") -> dict[str, Any]:
    """``{name: draws}`` as it is; anything else as the one model it is."""
    return dict(obj) if isinstance(obj, Mapping) and not is_container(obj) else {name: obj}


def group(obj: Any, name: str) -> Mapping[str, Any]:
    """A group's variables; empty without it."""
    if isinstance(obj, xr.DataTree):
        found = obj[name].to_dataset() if name in obj.children else {}
    else:
        found = obj.get(name, {})
    return {str(variable): found[variable] for variable in found}


def sites(obj: Any, of: str = "posterior") -> Mapping[str, Any]:
    """``{site: [chain, draw, *shape]}`` of a Posterior, a group of a container, or such a mapping."""
    if isinstance(obj, Sampled):
        return obj.draws.sites
    if is_container(obj):
        return group(obj, of)
    if isinstance(obj, Mapping):
        return obj
    raise TypeError(
        f"expected a Posterior, InferenceData, DataTree or {{site: [chain, draw, *shape]}}, got {type(obj).__name__}"
    )


def site(obj: Any, name: str, of: str = "posterior") -> np.ndarray:
    """The draws ``[chain, draw, *shape]`` of one site. Raises KeyError with the names there are."""
    found = sites(obj, of)
    if name not in found:
        raise KeyError(f"expected {name!r} in the {of}, got {list(found)}")
    return array(found[name][:])


def function_values(obj: Any) -> np.ndarray:
    """What the network computes, ``[chain, draw, …]``: an array as it is; of a Posterior at 100 training rows; of a
    container the ``*_mean`` of its predictions or, without them, the log likelihood. Raises KeyError without either.
    """
    if isinstance(obj, Sampled):
        return _joined(obj.function_draws()[0])
    if is_container(obj):
        predicted = group(obj, "predictions")
        means = {n: v for n, v in predicted.items() if n.endswith("_mean")}
        found = means or group(obj, "log_likelihood")
        if not found:
            raise KeyError("expected predictions or a log likelihood: export with to_inference_data(test=(x, y))")
        return _joined(found)
    values = array(obj)
    if values.ndim < 2:
        raise ValueError(f"expected f [chain, draw, …], got shape {values.shape}; write f[None] for a single chain")
    return values


def predictive(obj: Any, y: Any = None) -> Predicted:
    """Predictive draws of y, ``[…, n]``, noise included, and y: of a container those of its test rows, or else those of its
    training rows, which are also a Posterior's.
    """
    if isinstance(obj, Sampled):
        obj = obj.to_inference_data()
    if not is_container(obj):
        if y is None:
            raise ValueError("expected y beside predictive draws; only an InferenceData or DataTree brings its own")
        return Predicted(array(obj), array(y))
    for of, truth, rows in (
        ("predictions", "predictions_observed_data", "test rows"),
        ("posterior_predictive", "observed_data", "training rows"),
    ):
        observed = group(obj, truth)
        names = [n for n in group(obj, of) if n in observed]
        if len(names) == 1:
            return Predicted(array(group(obj, of)[names[0]]), array(observed[names[0]] if y is None else y), rows)
    raise KeyError("expected predictions of one observed site: export with to_inference_data(test=(x, y)), or pass arrays")


def probabilities(obj: Any, y: Any = None) -> Predicted:
    """Class probabilities averaged over draws, ``[n, classes]`` or ``[n]``, and the labels, of a container's test rows."""
    if is_container(obj):
        observed, predicted = group(obj, "predictions_observed_data"), group(obj, "predictions")
        names = [n for n in observed if f"{n}_mean" in predicted]
        if len(names) != 1:
            raise KeyError("expected predictions of one observed site: export with to_inference_data(test=(x, y))")
        p = array(predicted[f"{names[0]}_mean"])
        return Predicted(p.mean((0, 1)), array(observed[names[0]] if y is None else y), "test rows")
    if isinstance(obj, Sampled):
        raise TypeError("a Posterior knows its training rows alone: pass posterior.to_inference_data(test=(x, y))")
    p = array(obj)
    return Predicted(p.reshape(-1, *p.shape[-2:]).mean(0) if p.ndim > 2 else p, np.empty(0) if y is None else array(y))


def attributes(obj: Any) -> Mapping[Any, Any]:
    """What a run says of itself: gradients, seconds."""
    if isinstance(obj, Sampled):
        return obj.draws.attrs
    if isinstance(obj, xr.DataTree):
        return dict((obj["posterior"] if "posterior" in obj.children else obj).attrs)
    return dict(obj["posterior"].attrs) if is_container(obj) and "posterior" in obj else {}


def _joined(found: Mapping[str, Any]) -> np.ndarray:
    """All variables side by side: ``[chain, draw, scalars]``."""
    each = [array(v) for v in found.values()]
    return np.concatenate([v.reshape(*v.shape[:2], -1) for v in each], axis=-1)
