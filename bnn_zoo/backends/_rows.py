"""What the stochastic-gradient backends share: a log joint over all rows or over minibatches of them."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from ..data import Minibatches, choose_device, minibatches, tensors
from ..density import LogJoint
from ..types import Model, ModelError


def rows_and_density(
    model: Model,
    data: Any,
    *,
    batch_size: int | None,
    chains: int,
    seed: int,
    device: torch.device | str | None,
    compile: bool = False,
) -> tuple[LogJoint, Minibatches | None]:
    """The log joint of ``model``, and the stream of its minibatches where ``batch_size`` says so.

    With minibatches the model is called as ``model(*rows, size=N)`` and must scale its plate to N rows.
    """
    if batch_size is None:
        return LogJoint(model, tensors(data, device), device=device, compile=compile), None
    accepted = inspect.signature(model).parameters
    if "size" not in accepted and all(p.kind is not p.VAR_KEYWORD for p in accepted.values()):
        raise ModelError(
            f"minibatches call model(*rows, size=N), but this model takes ({', '.join(accepted)}): add size=None and use "
            "pyro.plate('data', size or len(x), subsample=x), or set batch_size=None"
        )
    place = choose_device(device)
    generator = torch.Generator(place or "cpu").manual_seed(seed + 1)
    batches = minibatches(data, batch_size, chains, generator, place)
    first = tuple(t[0] for t in batches.next_rows())
    log_joint = LogJoint(model, first, {"size": batches.size}, device=place, rows_per_chain=True, compile=compile)
    if not any((row.seen, row.size) == (batch_size, batches.size) for row in log_joint.rows):
        seen = [f"{row.plate!r}: {row.seen} of {row.size}" for row in log_joint.rows] or "no plate over the data"
        raise ModelError(
            f"minibatches of {batch_size} rows need the likelihood in a plate of all {batches.size} rows, found {seen}: "
            "write pyro.plate('data', size, subsample=x)"
        )
    return log_joint, batches


def next_rows(batches: Minibatches | None) -> tuple[Tensor, ...]:
    return () if batches is None else batches.next_rows()
