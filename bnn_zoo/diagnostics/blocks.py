"""Statistics of very many scalars, a block at a time and a block per thread, so that memory stays bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

CACHE, DEVICE_MEMORY = 2**17, 2**24  # draws worked on at a time, on a CPU (what its cache holds) and on a GPU
READ = 2  # times as many are read at once: longer runs of memory
KEEP = 2**24  # bytes; see _threads
MIN_DRAWS = 4

Statistic = Callable[[Tensor], Tensor]


def checked(x: Any) -> Tensor | np.ndarray:
    """Draws ``[chain, draw, ...]`` as they are in memory or on disk; nothing is read."""
    x = x.detach() if isinstance(x, Tensor) else np.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"expected draws [chain, draw, ...], got shape {list(x.shape)}; write x[None] for a single chain")
    return x


def tensor(x: Tensor | np.ndarray) -> Tensor:
    """A copy in float32 or float64: other floats as float32, whole numbers as float64."""
    x = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float() if x.is_floating_point() else x.double()
    return x


def each_scalar(statistic: Statistic, x: Any) -> Tensor:
    """``statistic`` maps ``[P, chain, draw]`` without NaN to ``[..., P]``; its values for x, ``[..., *shape]``.

    x: draws ``[chain, draw, *shape]``, or an iterator of such: then the values are ``[..., scalars of all items]``.
    Scalars with a NaN, and all where there are fewer than four draws, are NaN. On a CPU as many blocks are under way as
    ``torch.get_num_threads()``, each on one thread.
    """
    with _threads() as run:
        if not isinstance(x, Iterator):
            return _of_array(statistic, checked(x), run)
        parts = []
        for item in x:
            item = checked(item)
            parts.append(_of_array(statistic, item.reshape(*item.shape[:2], math.prod(item.shape[2:])), run).cpu())
        if not parts:
            raise ValueError("expected an iterator of draws [chain, draw, ...], got one without items")
        return torch.cat(parts, dim=-1)


@contextmanager
def _threads() -> Iterator[Callable[..., Iterator[Tensor]]]:
    """A ``map`` over the threads that torch may use, each with a torch of one thread; the caller's setting comes back."""
    # glibc keeps freed memory for reuse up to twice the largest piece it has seen freed. Without this untouched piece it
    # would hand every block's memory back to the system and fault it in again, a third of the time.
    torch.empty(KEEP, dtype=torch.uint8, device="cpu")
    threads = torch.get_num_threads()
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool.map
        finally:
            torch.set_num_threads(threads)


def _of_array(statistic: Statistic, x: Tensor | np.ndarray, run: Callable[..., Iterator[Tensor]]) -> Tensor:
    chains, draws, *shape = x.shape
    scalars = math.prod(shape)
    flat = x.reshape(chains, draws, scalars)
    on_gpu = isinstance(x, Tensor) and x.device.type != "cpu"
    size = max(1, (DEVICE_MEMORY if on_gpu else CACHE) // max(1, chains * draws))
    read = size if on_gpu else READ * size

    def work(start: int) -> Tensor:
        block = tensor(flat[..., start : start + read])
        if draws < MIN_DRAWS or block.numel() == 0:
            block = block.new_full((max(1, chains), MIN_DRAWS, max(1, block.shape[-1])), math.nan)
        rows = block.contiguous().flatten(0, 1).T.contiguous().view(-1, *block.shape[:2])  # two copies: read rows, then turn
        return torch.cat([_statistic(statistic, part) for part in rows.split(size)], dim=-1)

    starts = range(0, max(1, scalars), read)
    values = torch.cat(list((map if on_gpu else run)(work, starts)), dim=-1)[..., :scalars]
    return values.reshape((*values.shape[:-1], *shape))


def _statistic(statistic: Statistic, block: Tensor) -> Tensor:
    missing = block.flatten(1).amax(1).isnan()
    if not missing.any():
        return statistic(block)
    return statistic(block.masked_fill(missing[:, None, None], 0)).masked_fill(missing, math.nan)
