"""Temporary changes of torch's global state, undone on the way out, whatever happens inside, by one thread at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


class _Turn:
    """Whose turn it is among the threads of this process. A fork has one thread, and a turn of its own."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        if os.name == "posix":
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.RLock()


_turn = _Turn()


@contextmanager
def alone() -> Iterator[None]:
    """Other threads that come here wait: Pyro's stack of handlers and parameter store, torch's default dtype and random
    state belong to the whole process, so that two models cannot run at once. Also a decorator."""
    with _turn.lock:
        yield


@contextmanager
def factory(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Tensors made inside without a device or a floating dtype get these: ``Normal(0., 1.)`` fits any data."""
    with alone():
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            with nullcontext() if device == torch.get_default_device() else device:
                yield
        finally:
            torch.set_default_dtype(before)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Torch's global random state is put back after: the CPU's, and that of ``device`` where it is a CUDA device.

    No other device is asked or changed, and CUDA is not initialised for a run on the CPU.
    """
    with alone():
        here = torch.get_rng_state()
        there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        try:
            yield
        finally:
            torch.set_rng_state(here)
            if there is not None:
                torch.cuda.set_rng_state(there, device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global random state, of the CPU and of ``device``, starts from ``seed`` inside and is put back after.

    ``torch.manual_seed`` would seed every CUDA device, and leave them so.
    """
    with random_state_kept(device):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield
