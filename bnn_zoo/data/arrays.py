"""The model's positional arguments as tensors on one device, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..types import DataError
from .foreign import as_tensor
from .items import size_of


def choose_device(device: torch.device | str | None) -> torch.device | None:
    """``device`` as a torch device; DataError where it is neither a CPU nor a CUDA device that there is."""
    if device is None:
        return None
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise DataError(f"device={device!r} is no device that torch knows: write 'cpu' or 'cuda'") from None
    if chosen.type not in ("cpu", "cuda"):
        what = "holds no values" if chosen.type == "meta" else "is not supported (it has no float64, or was never tried)"
        raise DataError(f"device={device!r} {what}: write device='cpu' or 'cuda'")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device={device!r} was asked for, but torch sees no CUDA device: use device='cpu' or None")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        raise DataError(f"device={device!r}: torch sees {torch.cuda.device_count()} CUDA devices, counted from 0")
    return chosen


def tensors(data: Any, device: torch.device | str | None = None, *, finite: bool = True) -> tuple[Any, ...]:
    """``data`` (a tuple of the model's positional arguments) with arrays as tensors on ``device`` or where they are.

    Arrays are those of numpy, pandas (columns in order), xarray and what else numpy can read. Raises DataError for anything
    but a tuple or list, for what ``foreign.as_tensor`` refuses, for NaN or infinite values (if ``finite``), empty arrays,
    tables whose rows have other labels or another order, tensors on different devices (unless ``device`` says where to),
    and mixed floating dtypes.
    """
    chosen = choose_device(device)
    if isinstance(data, DataLoader):
        size_of(data)  # raises
    if isinstance(data, Dataset):
        raise DataError(
            "this backend needs all rows at once, got a torch Dataset: pass the tensors (x, y), or use SGLD or MeanField "
            "with batch_size"
        )
    if not isinstance(data, tuple | list):
        got = f"{type(data).__name__}{_hint(data)}"
        raise DataError(f"data must be the tuple of the model's arguments, such as (x, y); got {got}")
    _check_index(data)
    out = tuple(as_tensor(f"argument {i}", value) for i, value in enumerate(data))
    arrays = [(i, t) for i, t in enumerate(out) if isinstance(t, Tensor)]
    for i, t in arrays:
        _check_values(i, t, finite)
    if chosen is None and len({t.device for _, t in arrays}) > 1:
        places = ", ".join(f"argument {i} on {t.device}" for i, t in arrays)
        raise DataError(f"the data are on different devices ({places}): move them to one, or say device=")
    kinds = {t.dtype for _, t in arrays if t.is_floating_point()}
    if len(kinds) > 1:
        what = ", ".join(f"argument {i} is {t.dtype}" for i, t in arrays if t.is_floating_point())
        raise DataError(
            f"mixed floating dtypes ({what}): use one, such as .float() or .double(), for all; of arrays and tables "
            ".astype('float32')"
        )
    return tuple(t.to(chosen) if isinstance(t, Tensor) and chosen else t for t in out)


def _hint(data: Any) -> str:
    """What to write for data that are no tuple."""
    if isinstance(data, Mapping):
        return f": write ({', '.join(f'data[{key!r}]' for key in data)})"
    if isinstance(data, pd.DataFrame):
        return ": write (data[['a', 'b']], data['y']) with the names of its columns"
    return ": write (x, y), or (x,) for a model of one argument"


def _check_index(data: Sequence[Any]) -> None:
    """Tables are paired row by row, so their labels must be in the same order."""
    tables = [(i, t) for i, t in enumerate(data) if isinstance(t, pd.DataFrame | pd.Series)]
    for i, table in tables[1:]:
        first, index = tables[0][1].index, table.index
        if len(index) == len(first) and not index.equals(first):
            raise DataError(
                f"arguments {tables[0][0]} and {i} are tables whose row labels differ or are in another order: align "
                "them, such as by y.loc[x.index], or write .to_numpy() of both to pair them by place"
            )


def _check_values(i: int, t: Tensor, finite: bool) -> None:
    if t.numel() == 0:
        raise DataError(f"argument {i} of the data is empty, shape {tuple(t.shape)}: expected at least one row")
    if finite:
        check_finite(f"argument {i} of the data", t)


def check_finite(name: str, t: Tensor) -> None:
    """Raise DataError for NaN or infinite values."""
    if t.is_floating_point() and not bool(torch.isfinite(t).all()):
        bad = int((~torch.isfinite(t)).sum())
        raise DataError(f"{name} has {bad} NaN or infinite values of {t.numel()}: drop or impute them")
