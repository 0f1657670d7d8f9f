"""How a backend sees the rows of the data: all at once, all in chunks, or minibatches of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from .._random import Use, generator
from ..data import Minibatches, choose_device, minibatches, tensors
from ..density import ChunkedLogJoint, LogJoint
from ..density.chunked import need_size
from ..types import DataError, Model, ModelError


def density_of(
    model: Model,
    data: Any,
    *,
    row_chunk: int | None = None,
    device: torch.device | str | None = None,
    compile: bool = False,
) -> LogJoint:
    """The log joint of ``model`` over all rows of ``data``, at once or, with ``row_chunk``, that many rows at a time.

    With ``row_chunk`` the model is called as ``model(*rows, size=N)`` and must scale its plate to N rows, and ``data`` may
    also be a torch Dataset: it is read once into main memory, in the dtypes that it gives, and its chunks move to
    ``device`` one by one. Tensors and arrays go to ``device`` as a whole.

    Raises DataError (NaN in any row, unequal numbers of rows, a Dataset without ``row_chunk``) and ModelError.
    """
    if row_chunk is None:
        return LogJoint(model, tensors(data, device), device=device, compile=compile)
    need_size(model, "chunks of rows", "row_chunk")
    place = choose_device(device)
    rows = tensors(_read(data, row_chunk)) if isinstance(data, Dataset) else tensors(data, place)
    return ChunkedLogJoint(model, rows, row_chunk=row_chunk, device=place, compile=compile)


def _read(data: Dataset[Any], block: int) -> tuple[Tensor, ...]:
    """All rows of a Dataset of tuples as tensors on the CPU, in order. Global random state is not touched."""
    if isinstance(data, IterableDataset):
        raise DataError("an IterableDataset has no known number of rows: expected a Dataset with __len__ and __getitem__")
    size: int = len(data)  # type: ignore[arg-type]
    if size == 0:
        raise DataError("the data set is empty: expected at least one row")
    columns: list[Tensor] = []
    start = 0
    for batch in DataLoader(data, min(block, size), generator=torch.Generator()):
        if not isinstance(batch, tuple | list) or not all(isinstance(t, Tensor) for t in batch):
            raise DataError(
                f"the data set must give tuples of tensors or numbers such as (image, label), got {type(batch).__name__}: "
                "add transforms.ToTensor() for images"
            )
        columns = columns or [t.new_empty((size, *t.shape[1:])) for t in batch]
        for column, t in zip(columns, batch, strict=True):
            column[start : start + len(t)] = t
        start += len(batch[0])
    return tuple(columns)


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
    need_size(model, "minibatches", "batch_size")
    place = choose_device(device)
    order = generator(place or "cpu", seed, Use.ROWS)
    batches = minibatches(data, batch_size, chains, order, place)
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
