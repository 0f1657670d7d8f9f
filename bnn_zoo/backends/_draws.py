"""Where draws go: in blocks off the device and into the sites' own space, so that all of them lie in memory once."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._memory import free_memory, said
from ..density import LogJoint
from ..run import Recorder

BLOCK = 2**24
"""Bytes of positions that wait on the device before they move."""
STATISTICS = 10
"""Numbers of a draw, and of a transition of the warm-up, beside its position: at most so many are kept."""


def room(
    settings: Any, log_joint: LogJoint, draws: int, *, warmup: int = 0, held: int = 0, shared: bool = False
) -> dict[str, Tensor]:
    """Empty ``{site: [chain, draw, *shape]}`` on the CPU for the draws of ``settings.chains`` chains.

    With ``shared`` in memory that forks of this process write to as well. Raises ValueError where draws, statistics of
    the warm-up and ``held`` positions do not fit in the memory that is free.
    """
    chains, dtype = settings.chains, log_joint.dtype
    size = sum(prod(site.shape) for site in log_joint.sites)
    need = chains * dtype.itemsize * (draws * (size + STATISTICS) + warmup * STATISTICS + held * log_joint.dim)
    free = free_memory()
    if need > free:
        name = type(settings).__name__
        raise ValueError(
            f"{name}: {draws:,} draws with chains={chains:,} and {size:,} numbers a draw"
            f"{f', and statistics of {warmup:,} transitions of the warm-up,' if warmup else ''} need {said(need)}, and "
            f"{said(free)} of memory are free: keep fewer draws (more thinning, fewer chains)"
        )
    shapes = {site.name: (chains, draws, *site.shape) for site in log_joint.sites}
    if not shared:
        return {name: torch.empty(shape, dtype=dtype) for name, shape in shapes.items()}
    return {name: _shared(shape, dtype) for name, shape in shapes.items()}


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    memory = mmap.mmap(-1, prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)


class Store:
    """The draws of some chains, written into ``sites`` (a part of ``room``); their statistics stay on the device."""

    def __init__(self, log_joint: LogJoint, sites: Mapping[str, Tensor]) -> None:
        self.log_joint, self.sites = log_joint, sites
        self.chains, self.room = next(iter(sites.values())).shape[:2]
        size = self.chains * log_joint.dim * log_joint.dtype.itemsize
        self.block = min(self.room, max(BLOCK // max(size, 1), 1))
        self.waiting = Recorder(self.block)
        self.stats = Recorder(self.room)
        self.written = 0
        self.finite = torch.ones(self.room, dtype=torch.bool)

    @property
    def count(self) -> int:
        return self.stats.count

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        """One more draw: positions ``[chain, dim]`` and statistics ``[chain]``."""
        if self.waiting.count == self.block:
            self.write()
        self.waiting.add(position, {})
        self.stats.add(position[:, :0], stats)

    def write(self) -> None:
        """Move what waits. An interrupt in here loses nothing: it is then moved again."""
        count = min(self.waiting.count, self.count - self.written)
        if count:
            positions = self.waiting.result()[0][:, :count]
            span = slice(self.written, self.written + count)
            for name, values in self.log_joint.constrain(positions).items():
                self.sites[name][:, span] = values.detach()
            self.finite[span] = torch.isfinite(positions).all(-1).all(0).cpu()
        self.waiting.count, self.written = 0, self.written + count

    def result(self) -> dict[str, Tensor]:
        """All draws are in ``sites``; their statistics ``{name: [chain, draw]}``."""
        self.write()
        return self.stats.result()[1] if self.count else {}

    # as a sink of a run that is kept

    @property
    def tree(self) -> dict[str, Any]:
        self.write()
        return {"count": self.count, "finite": self.finite[: self.count], "stats": list(self.stats.stats)}

    def fresh(self, begin: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draws and statistics ``[chain, draw, …]`` from draw number ``begin`` on, on the CPU."""
        stats = self.result()
        span = slice(begin, self.count)
        return {n: v[:, span] for n, v in self.sites.items()}, {n: v[:, span].cpu() for n, v in stats.items()}

    def restore(self, tree: dict[str, Any], read: Callable[[int], Any]) -> int:
        """Take draws up that were kept, as ``read(count)`` gives them; how many these are."""
        count = tree["count"]
        if count:
            sites, stats = read(count)
            for name, value in sites.items():
                self.sites[name][:, :count] = value
            device, names = self.log_joint.device, tree["stats"]
            for i in range(count):
                self.stats.add(torch.empty(self.chains, 0, device=device), {n: stats[n][:, i].to(device) for n in names})
        self.finite[:count] = tree["finite"]
        self.written = count
        return int(count)


def put(log_joint: LogJoint, sites: Mapping[str, Tensor], chain: int, start: int, positions: Tensor) -> None:
    """Draws ``[draw, dim]`` of one chain, the first of them its draw number ``start``."""
    for name, values in log_joint.constrain(positions).items():
        sites[name][chain, start : start + len(positions)] = values.detach()


def blocks(log_joint: LogJoint, draws: int) -> Iterator[range]:
    """The draws of one chain in blocks of ``BLOCK`` bytes."""
    size = max(BLOCK // max(log_joint.dim * log_joint.dtype.itemsize, 1), 1)
    return (range(draws)[at : at + size] for at in range(0, draws, size))


def some(sites: dict[str, Tensor], count: int, chains: Sequence[int] | None = None) -> dict[str, Tensor]:
    """The first ``count`` draws of these chains (None: all), in memory of their own; ``sites`` is emptied on the way.

    Where that is all there is room for, ``sites`` as it is.
    """
    there = next(iter(sites.values())).shape
    kept = list(range(there[0]) if chains is None else chains)
    if (len(kept), count) == there[:2]:
        return sites
    return {name: torch.stack([sites[name][chain, :count] for chain in kept]) for name in _emptied(sites)}


def _emptied(sites: dict[str, Tensor]) -> Iterator[str]:
    """Each name, which is gone when the next is asked for."""
    for name in list(sites):
        yield name
        del sites[name]
