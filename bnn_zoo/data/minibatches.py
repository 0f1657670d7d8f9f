"""Minibatches for stochastic-gradient backends: the rows that a chain sees at step t are a function of seed, chain and t.

So there is no iterator to keep: a run that goes on where another stopped sees the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .._random import Use, counter, stream
from .._ranks import ONE, Ranks
from .._scope import seeded
from ..types import DataError
from .arrays import check_finite, choose_device, tensors
from .items import EXPECTED, collate, exposed, size_of
from .workers import Ahead, Workers, need_cpu


class Minibatches(Protocol):
    """``size`` rows in all, ``batch_size`` in each batch; ``rows(step)`` gives tensors ``[chain, batch, …]``.

    Rows come without replacement until an epoch ends; the last rows that fill no batch are left out of it, and the next is
    shuffled anew. Every row is as likely in every batch, so N/n scaling is unbiased.
    """

    @property
    def size(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def rows(self, step: int) -> tuple[Tensor, ...]: ...


def minibatches(
    data: Any, batch_size: int, chains: int | range, seed: int, device: torch.device | str | None, ranks: Ranks = ONE
) -> Minibatches:
    """Minibatches of a tuple of tensors (all with the rows first) or of a torch Dataset of tuples, for so many chains, or
    for chains of these numbers. Each of several ``ranks`` gets its share of the rows of a batch: every so manyth.

    Raises DataError where the batch is larger than the data, or the arguments are not rows.
    """
    chains = range(chains) if isinstance(chains, int) else chains
    if isinstance(data, Dataset | DataLoader):
        size = size_of(data)
        _check_size(size, batch_size)
        columns = exposed(data)
        for i, column in enumerate(columns):
            if column is not None:
                check_finite(f"column {i} of the data set", column)
        order, place = Order(size, batch_size, chains, seed, ranks), choose_device(device) or torch.device("cpu")
        if not isinstance(data, Workers):
            return DatasetRows(order, Batches(order, data, place), place)
        need_cpu(columns)
        made = Batches(order, data.dataset, torch.device("cpu"))
        return DatasetRows(order, made, place, Ahead(made, made.wanted, data, pinned=place.type == "cuda"))
    rows = tensors(data, device)
    lengths = [len(t) if isinstance(t, Tensor) and t.dim() else None for t in rows]
    if len(set(lengths)) != 1 or lengths[0] is None:
        raise DataError(f"minibatches need arguments with the same number of rows, got lengths {lengths}")
    _check_size(lengths[0], batch_size)
    return TensorRows(Order(lengths[0], batch_size, chains, seed, ranks), rows)


def _check_size(size: int, batch_size: int) -> None:
    if batch_size > size:
        raise DataError(f"batch_size={batch_size} is larger than the data, {size} rows: use batch_size=None for all rows")


@dataclass
class Order:
    """Numbers of the rows that each chain sees at a step: an own permutation for each chain and epoch."""

    size: int
    batch_size: int
    chains: range
    seed: int
    ranks: Ranks = ONE
    epoch: int = -1
    permutations: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    def at(self, step: int, device: torch.device) -> Tensor:
        """``[chain, batch]``, or this rank's share of it, on ``device``. The permutations of the last epoch are kept."""
        epoch, batch = divmod(step, self.size // self.batch_size)
        if epoch != self.epoch:
            own = (counter(self.seed, Use.ROWS, chain, epoch).permutation(self.size) for chain in self.chains)
            self.permutations = torch.stack([torch.from_numpy(order) for order in own]).to(device)
            self.epoch = epoch
        begin = batch * self.batch_size
        return self.permutations[:, begin + self.ranks.rank : begin + self.batch_size : self.ranks.size]


@dataclass
class Ordered:
    """What minibatches from tensors and from a Dataset have in common."""

    order: Order

    @property
    def size(self) -> int:
        return self.order.size

    @property
    def batch_size(self) -> int:
        return self.order.batch_size


@dataclass
class TensorRows(Ordered):
    """Rows of tensors held on one device."""

    columns: tuple[Tensor, ...]

    def rows(self, step: int) -> tuple[Tensor, ...]:
        index = self.order.at(step, self.columns[0].device)
        return tuple(t.index_select(0, index.reshape(-1)).reshape(*index.shape, *t.shape[1:]) for t in self.columns)


@dataclass
class Batches(Dataset[Any]):
    """Items of a torch Dataset as the batches of all chains. What an item draws from torch's global random state, as
    augmentation does, is a function of the seed, the chain and the step too."""

    order: Order
    data: Any
    device: torch.device

    def wanted(self, step: int) -> tuple[int, list[list[int]]]:
        """The index of a step: itself, and the rows of each chain."""
        return step, self.order.at(step, torch.device("cpu")).tolist()

    def __getitem__(self, wanted: tuple[int, list[list[int]]]) -> tuple[Tensor, ...] | DataError:
        """``[chain, batch, …]``, or the error: raised in another process it would come with that one's traceback."""
        step, rows = wanted
        try:
            return self._stacked([self._of_chain(*of, step) for of in zip(self.order.chains, rows, strict=True)])
        except DataError as error:
            return error

    def _of_chain(self, chain: int, rows: list[int], step: int) -> tuple[Tensor, ...]:
        with seeded(stream(self.order.seed, Use.ROWS, chain, step, self.order.ranks.rank), self.device):
            loader = DataLoader(self.data, len(rows), sampler=rows, collate_fn=collate)
            return next(iter(loader))

    def _stacked(self, batches: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        if len({tuple((t.shape, t.dtype) for t in batch) for batch in batches}) > 1:
            shapes = [[tuple(t.shape) for t in batch] for batch in batches]
            raise DataError(f"{EXPECTED}, of one shape and dtype throughout, got batches of {shapes[:2]}")
        return tuple(torch.stack(column) for column in zip(*batches, strict=True))


@dataclass
class DatasetRows(Ordered):
    """Items of a torch Dataset, read in this process or ahead of it."""

    made: Batches
    device: torch.device
    ahead: Ahead | None = None

    def rows(self, step: int) -> tuple[Tensor, ...]:
        batch = self.ahead.at(step) if self.ahead else self.made[self.made.wanted(step)]
        if isinstance(batch, DataError):
            raise batch
        return tuple(column.to(self.device, non_blocking=True) for column in batch)
