"""What likelihoods share: the check of the network's output, and targets of one or several columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..types import ModelError


def need(law: str, f: Tensor, fits: bool, expected: str) -> None:
    """Raise ModelError unless the network's output ``f [..., n, outputs]`` is what the likelihood ``law`` takes."""
    if f.dim() < 2 or not fits:
        raise ModelError(
            f"{law} expects the network to give [rows, outputs] with {expected}, got {_shape(f)}: "
            "change the size of the last layer"
        )


def _shape(f: Tensor) -> str:
    """As [rows, outputs]: how many rows there are is of no interest, and only one may have been looked at."""
    return f"[rows, {', '.join(map(str, f.shape[1:]))}]" if f.dim() > 1 else str(tuple(f.shape))


def of_columns(law: Callable[..., Any], loc: Tensor, *parameters: Any) -> Any:
    """``law(loc, *parameters)`` of a row: one output column means y is ``[n]``, several mean y is ``[n, k]``."""
    if loc.shape[-1] == 1:
        return law(*(p.squeeze(-1) if isinstance(p, Tensor) and p.dim() else p for p in (loc, *parameters)))
    return law(loc, *parameters).to_event(1)
