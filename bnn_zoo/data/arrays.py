"""The model's positional arguments as tensors on one device, checked before any work starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..types import DataError


def choose_device(device: torch.device | str | None) -> torch.device | None:
    """``device`` as a torch device; DataError where it is CUDA and there is none."""
    if device is None:
        return None
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise DataError(f"device={device!r} is no device that torch knows: write 'cpu' or 'cuda'") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DataError(f"device={device!r} was asked for, but torch sees no CUDA device: use device='cpu' or None")
    return chosen


def tensors(data: Any, device: torch.device | str | None = None) -> tuple[Any, ...]:
    """``data`` (a tuple of the model's positional arguments) with arrays as tensors on ``device`` or where they are.

    Raises DataError for anything but a tuple or list, for NaN or infinite values, empty arrays, arrays of objects or
    strings, tensors on different devices (unless ``device`` says where to), and mixed floating dtypes.
    """
    chosen = choose_device(device)
    if isinstance(data, Dataset):
        raise DataError(
            "this backend needs all rows at once, got a torch Dataset: pass the tensors (x, y), or use SGLD or MeanField "
            "with batch_size"
        )
    if not isinstance(data, tuple | list):
        raise DataError(f"data must be the tuple of the model's arguments, such as (x, y); got {type(data).__name__}")
    out = tuple(_tensor(i, value) for i, value in enumerate(data))
    arrays = [(i, t) for i, t in enumerate(out) if isinstance(t, Tensor)]
    for i, t in arrays:
        _check_values(i, t)
    if chosen is None and len({t.device for _, t in arrays}) > 1:
        places = ", ".join(f"argument {i} on {t.device}" for i, t in arrays)
        raise DataError(f"the data are on different devices ({places}): move them to one, or say device=")
    kinds = {t.dtype for _, t in arrays if t.is_floating_point()}
    if len(kinds) > 1:
        what = ", ".join(f"argument {i} is {t.dtype}" for i, t in arrays if t.is_floating_point())
        raise DataError(f"mixed floating dtypes ({what}): use one, such as .float() or .double(), for all")
    return tuple(t.to(chosen) if isinstance(t, Tensor) and chosen else t for t in out)


def _tensor(i: int, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value.detach() if isinstance(value, Tensor) else value
    if value.dtype.kind not in "fiub":
        raise DataError(f"argument {i} is an array of {value.dtype}: expected numbers; encode text and categories first")
    return torch.as_tensor(np.ascontiguousarray(value))


def _check_values(i: int, t: Tensor) -> None:
    if t.numel() == 0:
        raise DataError(f"argument {i} of the data is empty, shape {tuple(t.shape)}: expected at least one row")
    if t.is_floating_point() and t.device.type != "meta" and not bool(torch.isfinite(t).all()):
        bad = int((~torch.isfinite(t)).sum())
        raise DataError(f"argument {i} of the data has {bad} NaN or infinite values of {t.numel()}: drop or impute them")
