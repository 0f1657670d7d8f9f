"""Items of a torch Dataset: what a batch is made of, and what a data set is asked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from .._scope import seeded
from ..types import DataError
from .foreign import as_tensor
from .workers import Workers

EXPECTED = "the data set must give tuples of tensors or numbers such as (image, label)"
NUMBERS = (Tensor, np.ndarray, int, float, np.number, np.bool_)


def size_of(data: Any) -> int:
    """The number of items of a map-style Dataset; DataError for streams, loaders and what has no length."""
    if isinstance(data, Workers):
        return size_of(data.dataset)
    if isinstance(data, DataLoader):
        raise DataError(
            f"got a DataLoader: pass the Dataset that it reads, loader.dataset, and batch_size={data.batch_size} to a "
            "backend for minibatches such as SGLD or MeanField, which shuffle it themselves; data.Workers(dataset, 4) reads "
            "it in processes, as num_workers=4 does"
        )
    if isinstance(data, IterableDataset):
        raise DataError(
            "an IterableDataset has no known number of rows: expected a Dataset with __len__ and __getitem__; read it into "
            "tensors, x, y = (torch.stack(column) for column in zip(*data, strict=True)), or write such a Dataset"
        )
    try:
        size = len(data)
    except (TypeError, NotImplementedError):
        raise DataError(f"the data set {type(data).__name__} has no length: expected __len__ and __getitem__") from None
    if size == 0:
        raise DataError("the data set is empty: expected at least one row")
    return size


def collate(items: Sequence[Any]) -> tuple[Tensor, ...]:
    """Items, tuples of tensors, arrays or numbers, as one tensor ``[batch, …]`` a place.

    Floating columns take the dtype of the first of them: Python's floats would become float64. Raises DataError for items
    of another kind or length, for shapes that differ, and for NaN.
    """
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != len(items[0]):
            raise DataError(_unlike(item, items[0]))
    columns = tuple(_column(i, column) for i, column in enumerate(zip(*items, strict=True)))
    floating = next((c.dtype for c in columns if c.is_floating_point()), None)
    return tuple(c.to(floating) if floating and c.is_floating_point() else c for c in columns)


def _unlike(item: Any, first: Any) -> str:
    if isinstance(item, Mapping):
        keys = ", ".join(f"item[{key!r}]" for key in item)
        return f"{EXPECTED}, got {type(item).__name__}: write a Dataset whose __getitem__ returns ({keys})"
    if not isinstance(item, tuple | list):
        return f"{EXPECTED}, got {type(item).__name__}: return ({_what(item)}, label) for each item"
    return f"{EXPECTED}, all of one length: got items of {len(first)} and of {len(item)} parts"


def _column(i: int, values: tuple[Any, ...]) -> Tensor:
    """Part i of all items, stacked."""
    place = f"part {i} of an item"
    bad = [v for v in values if not isinstance(v, NUMBERS)]
    if bad:
        raise DataError(f"{EXPECTED}, got {_what(bad[0])} as {place}: {_remedy(bad[0])}")
    if any(isinstance(v, Tensor | np.ndarray) for v in values):
        values = tuple(as_tensor(place, v if isinstance(v, Tensor) else np.asarray(v)) for v in values)
    shapes = {tuple(v.shape) for v in values if isinstance(v, Tensor)}
    if len(shapes) > 1:
        raise DataError(f"{place} must have one shape throughout the data set, got {sorted(shapes)[:3]}: pad or crop it")
    stacked = as_tensor(place, default_collate(list(values)))
    if stacked.is_floating_point() and not bool(torch.isfinite(stacked).all()):
        lost = int((~torch.isfinite(stacked)).sum())
        raise DataError(f"{place} has {lost} NaN or infinite values of {stacked.numel()} in one batch: drop or impute them")
    return stacked


def _what(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _remedy(value: Any) -> str:
    module = type(value).__module__.split(".")[0]
    if module == "PIL":
        return "add transforms.ToTensor() for images"
    if isinstance(value, str | bytes):
        return "encode text as integers or vectors"
    if value is None:
        return "leave out items without a label"
    return "turn it into a tensor"


def exposed(data: Any) -> tuple[Tensor | None, ...]:
    """The columns of a data set that holds them as tensors, in order; None where a column is not known.

    Knows TensorDataset, subsets and concatenations of it, and labels at ``targets``, as in torchvision, where they are what
    the items hold (looked at in three of them).
    """
    if isinstance(data, TensorDataset):
        return data.tensors
    if isinstance(data, Workers):
        return exposed(data.dataset)
    if isinstance(data, Subset):
        rows = torch.as_tensor(data.indices)
        return tuple(None if c is None else c[rows.to(c.device)] for c in exposed(data.dataset))
    if isinstance(data, ConcatDataset):
        parts = [exposed(part) for part in data.datasets]
        if len({len(p) for p in parts}) != 1:
            return ()
        return tuple(None if any(c is None for c in column) else torch.cat(column) for column in zip(*parts, strict=True))
    targets = getattr(data, "targets", None)
    if not isinstance(targets, Tensor | list | np.ndarray) or len(targets) != len(data):
        return ()
    labels = as_tensor("targets", np.asarray(targets) if isinstance(targets, list) else targets)
    return (None, labels) if labels.dim() == 1 and _are_labels(data, labels) else ()


def _are_labels(data: Dataset[Any], labels: Tensor) -> bool:
    """Whether the second part of some items is the label at their place."""
    count = len(labels)
    with seeded(0, torch.device("cpu")):  # augmentation draws from torch's global random state
        items = [(i, data[i]) for i in {0, count // 2, count - 1}]
    return all(
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], int | Tensor) and item[1] == labels[i]
        for i, item in items
    )
