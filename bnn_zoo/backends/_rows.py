"""How a backend sees the rows of the data: all at once, all in chunks, or minibatches of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._ranks import ONE, Ranks
from ..data import Minibatches, TensorRows, choose_device, collate, exposed, minibatches, size_of, tensors
from ..density import ChunkedLogJoint, LogJoint, ShardedLogJoint, ShardedMinibatch, need_rows
from ..density.chunked import need_size
from ..types import DataError, Model, ModelError
from ._labels import Watched, check_columns, check_rows, need_observed


def density_of(
    model: Model,
    data: Any,
    *,
    row_chunk: int | None = None,
    device: torch.device | str | None = None,
    compile: bool = False,
    ranks: Ranks = ONE,
) -> LogJoint:
    """The log joint of ``model`` over all rows of ``data``, at once or, with ``row_chunk``, that many rows at a time.

    With ``row_chunk`` the model is called as ``model(*rows, size=N)`` and must scale its plate to N rows, and ``data`` may
    also be a torch Dataset: it is read once into main memory, in the dtypes that it gives, and its chunks move to
    ``device`` one by one. Tensors and arrays go to ``device`` as a whole.

    Each of several ``ranks`` has some of the rows: what is asked of the model is then the same as for chunks.

    Raises DataError (NaN in any row, unequal numbers of rows, a Dataset without ``row_chunk``) and ModelError.
    """
    if ranks.several:
        need_size(model, *ShardedLogJoint.said)
        whole = tensors(_read(data, row_chunk) if isinstance(data, Dataset) and row_chunk else data)
        place = choose_device(device)
        return ShardedLogJoint(model, whole, ranks=ranks, row_chunk=row_chunk, device=place, compile=compile)
    if row_chunk is None:
        log_joint = LogJoint(model, tensors(data, device, finite=False), device=device, compile=compile)
        need_observed(log_joint)
        return log_joint
    need_size(model, *ChunkedLogJoint.said)
    place = choose_device(device)
    rows = tensors(_read(data, row_chunk)) if isinstance(data, Dataset) else tensors(data, place)
    return ChunkedLogJoint(model, rows, row_chunk=row_chunk, device=place, compile=compile)


def _read(data: Dataset[Any], block: int) -> tuple[Tensor, ...]:
    """All rows of a Dataset of tuples as tensors on the CPU, in order. Global random state is not touched."""
    size = size_of(data)
    columns: list[Tensor] = []
    start = 0
    for batch in DataLoader(data, min(block, size), generator=torch.Generator(), collate_fn=collate):
        columns = columns or [t.new_empty((size, *t.shape[1:])) for t in batch]
        if [t.shape[1:] for t in batch] != [c.shape[1:] for c in columns]:
            shapes = [tuple(t.shape[1:]) for t in batch], [tuple(c.shape[1:]) for c in columns]
            raise DataError(f"rows of a data set must have one shape throughout, got {shapes[0]} and {shapes[1]}")
        for column, t in zip(columns, batch, strict=True):
            column[start : start + len(t)] = t
        start += len(batch[0])
    return tuple(columns)


def rows_and_density(
    model: Model,
    data: Any,
    *,
    batch_size: int | None,
    chains: int | range,
    seed: int,
    device: torch.device | str | None,
    compile: bool = False,
    ranks: Ranks = ONE,
) -> tuple[LogJoint, Minibatches | None]:
    """The log joint of ``model``, and the stream of its minibatches where ``batch_size`` says so.

    With minibatches the model is called as ``model(*rows, size=N)`` and must scale its plate to N rows. Each
    of several ``ranks`` has some of the rows.
    """
    if batch_size is None:
        return density_of(model, data, device=device, compile=compile, ranks=ranks), None
    need_size(model, "minibatches", "set batch_size=None")
    place = choose_device(device)
    need_rows(batch_size, ranks, "rows of a batch")
    batches = minibatches(data, batch_size, chains, seed, place, ranks)
    first = tuple(t[0] for t in batches.rows(0))
    size, kind = {"size": batches.size}, partial(ShardedMinibatch, ranks=ranks, batch_size=batch_size)
    make = kind if ranks.several else LogJoint
    log_joint = make(model, first, size, device=place, rows_per_chain=True, compile=compile)
    if not any((row.seen, row.size) == (len(first[0]), batches.size) for row in log_joint.rows):
        seen = [f"{row.plate!r}: {row.seen} of {row.size}" for row in log_joint.rows] or "no plate over the data"
        raise ModelError(
            f"minibatches of {batch_size} rows need the likelihood in a plate of all {batches.size} rows, found {seen}: "
            "write pyro.plate('data', size, subsample=x)"
        )
    if isinstance(batches, TensorRows):
        check_rows(log_joint, batches.columns)
        return log_joint, batches
    return log_joint, Watched(batches, check_columns(log_joint, exposed(data)))


def need_all_rows(log_joint: LogJoint, backend: str) -> None:
    """Raise where the log joint sees some rows only: for samplers that call it with no others."""
    for plate in log_joint.subsampled:
        raise ModelError(
            f"plate {plate!r} draws rows of its own (subsample_size=), and {backend} would see those of one draw for ever: "
            "drop subsample_size=, or, for a stochastic-gradient backend, set batch_size= and write model(…, size=None) "
            f"with pyro.plate({plate!r}, size or len(x), subsample=x)"
        )
    for row in log_joint.rows:
        if row.seen < row.size:
            raise DataError(
                f"{backend} needs every row, but plate {row.plate!r} sees {row.seen} of {row.size}; use SGLD or pass the "
                "whole set"
            )


def need_proper(log_joint: LogJoint, backend: str) -> None:
    """Raise ModelError where the posterior has infinite mass: chains and optimisers would run into the pole."""
    if improper := [site.name for site in log_joint.sites if not site.proper]:
        raise ModelError(
            f"{backend} needs a posterior that is a law, but under the log-uniform prior of sites {improper[:3]}, 1/|w|, "
            "its mass near 0 is infinite: use MeanField, which has a divergence for this prior, or a proper prior that is "
            "large at 0, such as Horseshoe(), or HalfCauchy(1.0) for a scale"
        )


def rows_at(batches: Minibatches | None, step: int) -> tuple[Tensor, ...]:
    """The rows of a step; none where the log joint sees all of them anyway."""
    return () if batches is None else batches.rows(step)
