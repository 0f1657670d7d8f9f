"""The same random numbers in two runs that draw them in another order, or leave out draws that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._torch import TorchDispatchMode


class _Reseeded(TorchDispatchMode):
    """Every random call starts from one seed: what it gives depends on the call and its shape alone."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.manual_seed(0)
        return func(*args, **(kwargs or {}))


@contextmanager
def same_noise() -> Iterator[None]:
    """Inside, random calls repeat themselves; torch's random state is put back after."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), _Reseeded():
        yield
