"""The one check of a scale, wherever it was given."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions.util import is_validation_enabled
from torch import Tensor


def check_scale(value: Any, what: str) -> None:
    """Raise ValueError unless every number in ``value``, a number or a tensor, is finite and > 0."""
    if isinstance(value, Tensor):
        if not is_validation_enabled():  # a model being traced, where a tensor has no values; checked before
            return
        at = value.detach()
        good = bool((torch.isfinite(at) & (at > 0)).all())
        shown = at.flatten()[:3].tolist() if not good and at.numel() > 1 else at
    else:
        good, shown = math.isfinite(value) and value > 0, value
    if not good:
        raise ValueError(f"{what} must be a finite number > 0, got {shown}")
