"""The one check of a scale, wherever it was given."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def check_scale(value: Any, what: str) -> None:
    """Raise ValueError unless every number in ``value``, a number or a tensor, is finite and > 0."""
    if isinstance(value, Tensor):
        at = value.detach()
        try:
            good = bool((torch.isfinite(at) & (at > 0)).all())
        except RuntimeError:  # a model being traced: there a tensor has no values; they were checked in the run before
            return
        shown = at.flatten()[:3].tolist() if not good and at.numel() > 1 else at
    else:
        good, shown = math.isfinite(value) and value > 0, value
    if not good:
        raise ValueError(f"{what} must be a finite number > 0, got {shown}")
