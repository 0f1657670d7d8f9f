"""Temporary changes of torch's global state, undone on the way out, whatever happens inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def factory(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Tensors made inside without a device or a floating dtype get these: ``Normal(0., 1.)`` fits any data."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with nullcontext() if device.type == torch.get_default_device().type else device:
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global random state starts from ``seed`` inside and is put back after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
