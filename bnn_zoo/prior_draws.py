"""Looking before sampling: what a model's prior says about functions and data."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from . import export
from ._random import whole_seed
from ._scope import alone, factory, seeded
from .bnn import rows_alone
from .data import tensors
from .density import is_data
from .density.observed import check_observed
from .density.sites import is_open
from .laws import unweighted
from .predict import check_call, moments, seen_only, split
from .predict.passes import _masked, base_law
from .predict.pointwise import seen_rows
from .predict.whole import Whole
from .types import DataError, Model, ModelError


@alone()
def prior_draws(model: Model, data: Any, *, draws: int = 500, seed: int = 0, coords: Mapping[str, Any] | None = None) -> Any:
    """Draws from the prior of ``model`` and what follows from them: ``InferenceData``, on arviz 1.x a ``DataTree``.

    model
        a ``BNN`` or any other Pyro model.
    data
        inputs alone, ``x``, or the tuple of the model's arguments, ``(x, y)`` or ``(x,)``; tensors or arrays. The draws do
        not look at y: it says which sites are data, and is exported beside them.
    draws, seed
        how many; same seed and machine, same draws. The caller's random state is left as it was.
    coords
        labels of dimensions, as in ``Posterior.to_inference_data``.

    Groups, one chain: ``prior``, the latent sites; ``prior_predictive``, data ``y`` with their noise, and ``y_mean``, what
    the network computes (for classes the probabilities), under the names and dimensions of the exported posterior;
    ``constant_data``, and ``observed_data`` where y was given. Rows without a label, or under a mask, are left out of y.

    Raises DataError for data that do not fit, or where nothing tells which sites are data; ModelError for laws that cannot
    be sampled. A model with ``pyro.factor`` gives draws from the laws of its sites alone, with a warning.
    """
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
        raise ValueError(f"draws must be a whole number, 1 or more, got {draws!r}")
    seed, coords = whole_seed(seed), dict(coords or {})
    args = tensors(data if isinstance(data, tuple | list) else (data,), finite=rows_alone(model))
    check_call(model, args, "prior_draws")
    device = next((a.device for a in args if isinstance(a, Tensor)), torch.device("cpu"))
    dtype = next((a.dtype for a in args if isinstance(a, Tensor) and a.is_floating_point()), torch.get_default_dtype())
    with torch.no_grad(), seeded(seed, device), factory(device, dtype), pyro.get_param_store().scope():
        nodes = _trace(model, args)
        sites = _data_sites(model, args, nodes)
        _check_names(nodes, sites)
        seen = {n: seen_rows(_masked(nodes[n]), nodes[n]["value"]).cpu() for n in sites}
        with seeded(seed, device):  # the same draws with y and without
            whole = _draw(model, args, sites, draws)
        observed, inputs = split(model, {n: v[0].to(device) for n, v in whole["prior"].items()}, args)
    return _exported(whole, seen, observed, inputs, coords, {"seed": seed, "backend": "prior", "draws": draws})


@contextmanager
def _explained() -> Iterator[None]:
    """What a model that cannot be run, or whose laws cannot be sampled, says: as an error with what to do."""
    try:
        yield
    except (DataError, ModelError):
        raise
    except NotImplementedError as error:
        raise ModelError(
            f"the law of a site cannot be sampled ({_first_line(error)}): give that site a proper prior"
        ) from error
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        raise ModelError(f"the model fails on these data: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _trace(model: Model, args: tuple[Any, ...]) -> Mapping[str, Any]:
    """A run of the model on the data as they are; they must be values that their laws can give."""
    with pyro.validation_enabled(False), _explained():
        nodes: Mapping[str, Any] = poutine.trace(model).get_trace(*args).nodes
    for name, msg in nodes.items():
        if is_data(msg):
            check_observed(name, msg)
    factors = [n for n, m in nodes.items() if m["type"] == "sample" and _is_factor(m)]
    if factors:
        warnings.warn(
            f"sites {factors} are factors of the joint density, which draws from the laws of the sites do not know of",
            stacklevel=4,
        )
    return nodes


def _data_sites(model: Model, args: tuple[Any, ...], nodes: Mapping[str, Any]) -> list[str]:
    """The observed sites, and open ones under the name of an argument that was left out or is None, as ``y=None``."""
    names = list(inspect.signature(model).parameters)
    absent = {*names[len(args) :], *(n for n, a in zip(names, args, strict=False) if a is None)}
    found = [n for n, m in nodes.items() if is_data(m) or (n in absent and is_open(m))]
    if not found:
        raise DataError(
            "with these data the model observes nothing, so nothing tells which of its sites "
            f"{[n for n, m in nodes.items() if is_open(m)]} are data: pass all of its data, such as (x, y), or call the "
            "site as the argument y=None is called"
        )
    return found


def _check_names(nodes: Mapping[str, Any], sites: list[str]) -> None:
    """Raise ModelError for names that cannot be exported."""
    found = {n: m for n, m in nodes.items() if m["type"] == "sample" and not site_is_subsample(m) and not _is_factor(m)}
    shapes = {n: m["value"].shape for n, m in found.items()}
    export.check_names({n: s for n, s in shapes.items() if n not in sites}, {n: shapes[n] for n in sites})


def _is_factor(msg: Any) -> bool:
    return isinstance(base_law(msg["fn"]), dist.Unit)


class _FromTheLaws(poutine.messenger.Messenger):
    """Data sites are drawn from their laws, whatever was observed; everything drawn is kept."""

    def __init__(self, sites: list[str]) -> None:
        super().__init__()
        self.sites = sites
        self.prior: dict[str, Tensor] = {}
        self.data: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.sites:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False

    def _pyro_post_sample(self, msg: Any) -> None:
        name, law = msg["name"], msg["fn"]
        if site_is_subsample(msg) or _is_factor(msg):
            return
        if name in self.sites:
            self.data |= {name: msg["value"], f"{name}_mean": moments(unweighted(law))[0]}
        elif not is_data(msg):
            self.prior[name] = msg["value"]


def _draw(model: Model, args: tuple[Any, ...], sites: list[str], draws: int) -> dict[str, dict[str, Tensor]]:
    """``{"prior": {site: [draw, …]}, "prior_predictive": {…}}``."""
    whole = Whole(draws)
    first: set[str] = set()
    for i in range(draws):
        with pyro.validation_enabled(False), _explained(), _FromTheLaws(sites) as run:
            model(*args)
        parts = {"prior": run.prior, "prior_predictive": run.data}
        names = {n for part in parts.values() for n in part}
        first = first or names
        if names != first:
            raise ModelError(f"sites {sorted(names ^ first)} are in some draws only: write a fixed set of sites")
        whole.put({group: {n: v.detach()[None] for n, v in part.items()} for group, part in parts.items()}, i)
    return {group: dict(values) for group, values in whole.arrays.items()}


def _exported(
    whole: Mapping[str, Mapping[str, Tensor]],
    seen: Mapping[str, Tensor],
    observed: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    coords: dict[str, Any],
    attrs: dict[str, Any],
) -> Any:
    """The groups, with the names of axes that an exported posterior has."""
    both = {n: seen[n.removesuffix("_mean") if n not in seen else n] for n in whole["prior_predictive"]}
    groups: dict[str, Mapping[str, Any]] = {
        "prior": {n: v[None] for n, v in whole["prior"].items()},
        "prior_predictive": seen_only({n: v[None] for n, v in whole["prior_predictive"].items()}, both, 2),
        "observed_data": seen_only({n: v.detach().cpu() for n, v in observed.items()}, seen, 0),
        "constant_data": {n: v.detach().cpu() for n, v in inputs.items()},
    }
    shapes = [whole["prior_predictive"][n].shape[1:] for n in seen]
    count = export.row_count(shapes, (v.shape for v in inputs.values()))
    first, labels = export.row_names({n: v.numpy() for n, v in seen.items()}, count, "obs_id", coords.get("obs_id"))
    first |= {n: first[n.removesuffix("_mean")] for n in both if n not in seen and n.removesuffix("_mean") in first}
    dims: dict[str, Any] = {"prior": {n: export.weight_dims(n, v.shape[2:]) for n, v in groups["prior"].items()}}
    for group, lead in (("prior_predictive", 2), ("observed_data", 0)):
        dims[group] = {n: export.axis_names(n, v.shape[lead:], first.get(n)) for n, v in groups[group].items()}
    dims["constant_data"] = {
        n: export.axis_names(n, v.shape, "obs_id" if v.dim() and len(v) == count else None)
        for n, v in groups["constant_data"].items()
    }
    rows = {
        group: {d: v for d, v in labels.items() if any(d in names for names in dims[group].values())}
        for group in ("prior_predictive", "observed_data")
    }
    return export.to_inference_data(
        groups, coords=coords, group_dims=dims, group_coords=rows, attrs=attrs, group_attrs={"prior": attrs}
    )
