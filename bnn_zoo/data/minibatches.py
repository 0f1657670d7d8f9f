"""Minibatches for stochastic-gradient backends: for every chain its own rows, from tensors or any torch Dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._scope import seeded
from ..types import DataError
from .arrays import check_finite, choose_device, tensors
from .items import EXPECTED, collate, exposed, size_of

KEY = torch.float64
"""Of the random numbers that order the rows: in float32 many of a large data set's would be equal."""


class Minibatches(Protocol):
    """``size`` rows in all, ``batch_size`` in each batch; ``next_rows()`` gives tensors ``[chain, batch, …]``.

    Rows come without replacement until an epoch ends; the last rows that fill no batch wait for the next epoch's
    reshuffling. Every row is as likely in every batch, so N/n scaling is unbiased.
    """

    @property
    def size(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def next_rows(self) -> tuple[Tensor, ...]: ...

    def restart(self) -> None:
        """Begin a new epoch with the next rows."""


def minibatches(
    data: Any, batch_size: int, chains: int, generator: torch.Generator, device: torch.device | str | None
) -> Minibatches:
    """Minibatches of a tuple of tensors (all with the rows first) or of a torch Dataset of tuples.

    Raises DataError where the batch is larger than the data, or the arguments are not rows.
    """
    if isinstance(data, Dataset | DataLoader):
        size = size_of(data)
        _check_size(size, batch_size)
        for i, column in enumerate(exposed(data)):
            if column is not None:
                check_finite(f"column {i} of the data set", column)
        return DatasetRows(data, size, batch_size, chains, generator, choose_device(device) or torch.device("cpu"))
    rows = tensors(data, device)
    lengths = [len(t) if isinstance(t, Tensor) and t.dim() else None for t in rows]
    if len(set(lengths)) != 1 or lengths[0] is None:
        raise DataError(f"minibatches need arguments with the same number of rows, got lengths {lengths}")
    _check_size(lengths[0], batch_size)
    return TensorRows(rows, lengths[0], batch_size, chains, generator)


def _check_size(size: int, batch_size: int) -> None:
    if batch_size > size:
        raise DataError(f"batch_size={batch_size} is larger than the data, {size} rows: use batch_size=None for all rows")


@dataclass
class TensorRows:
    """Rows of tensors held on one device, picked by an own permutation for each chain."""

    rows: tuple[Tensor, ...]
    size: int
    batch_size: int
    chains: int
    generator: torch.Generator
    order: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    at: int = 0

    def restart(self) -> None:
        self.at = self.size

    def next_rows(self) -> tuple[Tensor, ...]:
        device = self.rows[0].device
        if self.order.numel() == 0 or self.at + self.batch_size > self.size:
            keys = torch.rand(self.chains, self.size, generator=self.generator, device=self.generator.device, dtype=KEY)
            self.order, self.at = keys.argsort(1).to(device), 0
        index = self.order[:, self.at : self.at + self.batch_size]
        self.at += self.batch_size
        return tuple(t.index_select(0, index.reshape(-1)).reshape(*index.shape, *t.shape[1:]) for t in self.rows)


@dataclass
class DatasetRows:
    """Rows of a torch Dataset through one shuffling DataLoader for each chain."""

    data: Any
    size: int
    batch_size: int
    chains: int
    generator: torch.Generator
    device: torch.device
    streams: list[Iterator[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.streams = [self._stream() for _ in range(self.chains)]

    def _stream(self) -> Iterator[Any]:
        seed = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
        shuffle = torch.Generator().manual_seed(seed)
        loader = DataLoader(self.data, self.batch_size, shuffle=True, drop_last=True, generator=shuffle, collate_fn=collate)
        while True:
            yield from loader

    def next_rows(self) -> tuple[Tensor, ...]:
        seed = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
        with seeded(seed, self.device):  # augmentation draws from torch's global random state
            batches = [next(stream) for stream in self.streams]
        if len({tuple((t.shape, t.dtype) for t in batch) for batch in batches}) > 1:
            shapes = [[tuple(t.shape) for t in batch] for batch in batches]
            raise DataError(f"{EXPECTED}, of one shape and dtype throughout, got batches of {shapes[:2]}")
        return tuple(torch.stack(column).to(self.device) for column in zip(*batches, strict=True))
