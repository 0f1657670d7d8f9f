"""What a model makes of its arguments: names and shapes of its sites, and which arguments are data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from torch import Tensor

from .._scope import factory, seeded
from ..density import Hold, is_data
from ..density.sites import _run, is_latent
from ..types import DataError, Draws, Model
from .passes import _quiet, base_law, place_of


@dataclass(frozen=True)
class Contents:
    """Shapes of a model's sites by name: latent, deterministic and observed."""

    latent: Mapping[str, torch.Size]
    fixed: Mapping[str, torch.Size]
    observed: Mapping[str, torch.Size]


def contents(model: Model, args: tuple[Any, ...]) -> Contents:
    """One run of ``model(*args)`` at a draw from its prior. Raises what a fit would raise, and changes no global state."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    device = tensors[0].device if tensors else torch.device("cpu")
    dtype = next((a.dtype for a in tensors if a.is_floating_point()), torch.get_default_dtype())
    with seeded(0, device), factory(device, dtype), pyro.get_param_store().scope(), torch.no_grad():
        nodes = _run(model, args, {}).nodes
    latent = {n: m["fn"].shape() for n, m in nodes.items() if is_latent(m)}
    observed = {n: m["value"].shape for n, m in nodes.items() if is_data(m)}
    fixed = {
        n: m["value"].shape
        for n, m in nodes.items()
        if m["type"] == "sample" and m["is_observed"] and isinstance(base_law(m["fn"]), dist.Delta)
    }
    return Contents(latent, fixed, observed)


def check_call(model: Model, args: tuple[Any, ...], what: str) -> None:
    """Raise DataError unless ``model(*args)`` is a call that its signature allows."""
    try:
        inspect.signature(model).bind(*args)
    except TypeError as error:
        raise DataError(f"{what}: the model takes {inspect.signature(model)}, got {len(args)} arguments ({error})") from None


def like_data(new: tuple[Any, ...], old: tuple[Any, ...], draws: Draws, rows_alone: bool) -> tuple[Any, ...]:
    """New arguments in the dtypes of the data that the model was fitted to; DataError where they cannot be like them.

    ``rows_alone``: each row is by itself, as a BNN's. Else an axis as long as the old data may be as long as the new.
    """
    dtype = next(iter(draws.sites.values())).dtype
    out = []
    for i, (a, b) in enumerate(zip_longest(new, old[: len(new)])):
        if rows_alone and not isinstance(a, Tensor):
            raise DataError(f"x must be a tensor, got {type(a).__name__}: use torch.as_tensor")
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            free = set() if rows_alone or not b.dim() else {len(b)}
            same = a.dim() == b.dim() and all(m == n or n in free for m, n in zip(a.shape[1:], b.shape[1:], strict=True))
            if not same:
                remedy = ": write x[None] for one row" if a.shape == b.shape[1:] else ""
                raise DataError(
                    f"argument {i}: the model was fitted to rows of shape {tuple(b.shape[1:])}, got "
                    f"{tuple(a.shape[1:])}{remedy}"
                )
            whole = {torch.int8, torch.int16, torch.int32, torch.int64}
            if a.dtype in whole and b.is_floating_point():
                a = a.to(dtype)
            elif a.is_floating_point() and b.dtype in whole:
                raise DataError(
                    f"argument {i}: the model was fitted to {b.dtype}, got {a.dtype}: write x.long() if it is whole"
                )
        out.append(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a)
    return tuple(out)


def split(model: Model, values: Mapping[str, Tensor], rows: tuple[Any, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Observed values by site, and the array arguments that are not one of them, by the model's parameter names.

    ``values`` hold the latent sites. An argument is data where an observed value lies in its memory, or, converted on the
    way, equals it; of several equal ones the last, since y comes after x: so an autoencoder's ``(x, x)`` keeps its x.
    """
    fresh = tuple(a.clone() if isinstance(a, Tensor) else a for a in rows)
    with _quiet(*place_of(rows, values)), Hold(values):
        trace = poutine.trace(model).get_trace(*fresh)
    observed = {n: m["value"] for n, m in trace.nodes.items() if is_data(m)}
    data = {_argument(value, fresh) for value in observed.values()}
    names = [*inspect.signature(model).parameters, *(f"arg_{i}" for i in range(len(rows)))]
    inputs = {
        name: value
        for i, (name, value) in enumerate(zip(names, rows, strict=False))
        if isinstance(value, Tensor) and i not in data
    }
    return observed, inputs


def _argument(value: Tensor, args: tuple[Any, ...]) -> int | None:
    """Number of the argument that an observed value is made of."""
    for i, a in enumerate(args):
        if isinstance(a, Tensor) and a.untyped_storage().data_ptr() == value.untyped_storage().data_ptr():
            return i
    equal = [i for i, a in enumerate(args) if isinstance(a, Tensor) and _same(a, value)]
    return equal[-1] if equal else None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.flatten().to(b.dtype).nan_to_num(), b.flatten().nan_to_num())
