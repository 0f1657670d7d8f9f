"""Items of a torch Dataset read ahead of the run by other processes, for data that take long to read or to augment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..types import DataError


@dataclass(frozen=True, eq=False)
class Workers(Dataset[Any]):
    """A torch Dataset whose minibatches are made by ``count`` processes, ``ahead`` steps of the run ahead each.

    ``fit(model, Workers(rows, 4), SGLD(batch_size=128))``. It pays where reading or augmenting a batch takes longer than a
    step. Draws are the same as without, for any ``count``: what augmentation draws from torch's global random state is a
    function of the seed, the chain and the step. Numbers from ``random`` or from NumPy's global state are not.

    On a GPU batches are made in pinned memory and copied while the GPU works; items must then be on the CPU.

    Raises ValueError for counts below 1, and at the fit DataError for a Dataset without a length or with tensors on a GPU.
    """

    dataset: Any
    count: int = 2
    ahead: int = 2

    def __post_init__(self) -> None:
        for name in ("count", "ahead"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Any:
        return self.dataset[row]


@dataclass
class Ahead:
    """The items of ``made``, a Dataset whose indices are those that ``wanted(step)`` gives, for one step after the other.

    The processes start with the second of two steps that follow each other: a step out of turn is made in this process.
    """

    made: Any
    wanted: Any
    workers: Workers
    pinned: bool = False
    due: int | None = None
    batches: Iterator[Any] | None = field(default=None, repr=False)

    def at(self, step: int) -> Any:
        in_turn, self.due = step == self.due, step + 1
        if not in_turn:
            self.batches = None
            return self.made[self.wanted(step)]
        if self.batches is None:
            self.batches = self._from(step)
        return next(self.batches)

    def _from(self, step: int) -> Iterator[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, fork may deadlock": workers use no thread
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than cores: the user's choice
            return iter(
                DataLoader(
                    self.made,
                    batch_size=None,
                    sampler=_Steps(self.wanted, step),
                    num_workers=self.workers.count,
                    prefetch_factor=self.workers.ahead,
                    pin_memory=self.pinned,
                    collate_fn=_as_made,
                    generator=torch.Generator(),
                )
            )


@dataclass
class _Steps(Sampler[Any]):
    wanted: Any
    first: int

    def __iter__(self) -> Iterator[Any]:
        step = self.first
        while True:
            yield self.wanted(step)
            step += 1


def _as_made(batch: Any) -> Any:
    return batch


def need_cpu(columns: tuple[Tensor | None, ...]) -> None:
    """DataError where workers would have to read from a GPU, which a fork cannot."""
    for i, column in enumerate(columns):
        if column is not None and column.device.type != "cpu":
            raise DataError(
                f"Workers reads items on the CPU, got column {i} on {column.device}: pass the Dataset without Workers, or "
                "keep its tensors on the CPU"
            )
