"""The same random numbers in two runs that draw them in another order, or leave out draws that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .._scope import random_state_kept
from .._torch import TorchDispatchMode


class _Reseeded(TorchDispatchMode):
    """Every random call starts from one seed: what it gives depends on the call and its shape alone."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.default_generator.manual_seed(0)
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(torch.Generator(self.device).manual_seed(0).get_state(), self.device)
        return func(*args, **(kwargs or {}))


@contextmanager
def same_noise(device: torch.device) -> Iterator[None]:
    """Inside, random calls on ``device`` repeat themselves; torch's random state is put back after."""
    with random_state_kept(device), _Reseeded(device):
        yield
