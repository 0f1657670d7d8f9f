"""Where the draws of a run go: into memory, once, or to the disk."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor

from .._memory import free_memory, said
from .._ranks import ONE, Ranks
from ..density import LogJoint
from ..run import Keeper
from ..run.store import Store as Disk
from ..run.stored import Stored
from ._sinks import BLOCK, Sink, Store, Streamed

STATISTICS = 10
"""Numbers of a draw, and of a transition of the warm-up, beside its position: at most so many are kept."""


class Place(Protocol):
    """Where the draws of a run go: ``InMemory`` or ``OnDisk``."""

    chains: range
    block: int
    """Draws of a chain that wait where they come one by one."""
    held: dict[str, Tensor]
    """Those that lie in memory, ``{site: [chain, draw, *shape]}``."""

    def sink(self, chains: range) -> Sink: ...

    def put(self, chain: int, start: int, values: Mapping[str, Tensor]) -> None:
        """Draws ``{site: [draw, *shape]}`` of one chain, the first of them its draw number ``start``."""

    def taken(self, count: int, chains: Sequence[int] | None = None) -> dict[str, Any]:
        """``{site: [chain, draw, *shape]}`` of these chains (None: all), their first ``count`` draws; once, at the end."""


def place(
    keeper: Keeper | None,
    settings: Any,
    log_joint: LogJoint,
    draws: int,
    *,
    warmup: int = 0,
    held: int = 0,
    shared: bool = False,
    ranks: Ranks = ONE,
) -> Place:
    """Where ``draws`` draws of ``settings.chains`` chains go: to the store of a run that is kept, else into memory.

    Of several ``ranks`` that make the same draws the first writes them. With ``shared`` into memory that forks of this
    process write to as well. Raises ValueError where what lies in memory (draws, statistics of the warm-up, ``held``
    positions) does not fit in what is free.
    """
    need_memory(settings, log_joint, 0 if keeper else draws, warmup, held)
    return (
        OnDisk(keeper, log_joint, draws, ranks.rank > 0) if keeper else InMemory(settings.chains, log_joint, draws, shared)
    )


def need_memory(settings: Any, log_joint: LogJoint, draws: int, warmup: int = 0, held: int = 0) -> None:
    """Raise ValueError where so many draws and statistics, and ``held`` positions, do not fit in the memory that is free."""
    chains = settings.chains
    size = sum(prod(site.shape) for site in log_joint.sites)
    need = chains * log_joint.dtype.itemsize * (draws * (size + STATISTICS) + warmup * STATISTICS + held * log_joint.dim)
    free = free_memory()
    if need > free:
        what = f"{draws:,} draws with " if draws else ""
        raise ValueError(
            f"{type(settings).__name__}: {what}chains={chains:,} and {size:,} numbers a draw"
            f"{f', and statistics of {warmup:,} transitions of the warm-up,' if warmup else ''} need {said(need)}, and "
            f"{said(free)} of memory are free: keep fewer draws (more thinning, fewer chains)"
            f"{', or stream them to disk: fit(…, checkpoint=folder)' if draws else ''}"
        )


class InMemory:
    """All draws on the CPU, ``sites`` of shape ``[chain, draw, *shape]``."""

    block = 1

    def __init__(self, chains: int, log_joint: LogJoint, draws: int, shared: bool = False) -> None:
        self.log_joint = log_joint
        shapes = {site.name: (chains, draws, *site.shape) for site in log_joint.sites}
        empty = _shared if shared else torch.empty
        self.held: dict[str, Tensor] = {name: empty(shape, dtype=log_joint.dtype) for name, shape in shapes.items()}
        self.chains = range(chains)

    def sink(self, chains: range) -> Store:
        return Store(self.log_joint, {name: value[chains.start : chains.stop] for name, value in self.held.items()})

    def put(self, chain: int, start: int, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.held[name][chain, start : start + len(value)] = value.detach()

    def taken(self, count: int, chains: Sequence[int] | None = None) -> dict[str, Any]:
        """In memory of their own, and ``held`` is emptied on the way; where all are taken, as they are."""
        there = next(iter(self.held.values())).shape
        kept = list(range(there[0]) if chains is None else chains)
        if (len(kept), count) == there[:2]:
            return self.held
        sites = self.held
        return {name: torch.stack([sites[name][chain, :count] for chain in kept]) for name in _emptied(sites)}


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    memory = mmap.mmap(-1, prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)


def _emptied(sites: dict[str, Tensor]) -> Iterator[str]:
    """Each name, which is gone when the next is asked for."""
    for name in list(sites):
        yield name
        del sites[name]


class OnDisk:
    """Draws and their statistics in the store of a run; memory does not grow with their number."""

    def __init__(self, keeper: Keeper, log_joint: LogJoint, draws: int, reading: bool = False) -> None:
        self.store, self.log_joint, self.draws, self.reading = keeper.store, log_joint, draws, reading
        self.chains, self.held = range(keeper.store.chains), dict[str, Tensor]()
        self.block = self._rows(log_joint.dim)

    def _rows(self, numbers: int) -> int:
        """Draws of so many numbers that wait: ``BLOCK`` bytes at most, and whole chunks of the largest site, or a whole
        fraction of one."""
        fit = max(min(self.draws, BLOCK // max(numbers * self.log_joint.dtype.itemsize, 1)), 1)
        chunk = max(self.store.sites.values(), key=lambda array: array.stride).rows
        return fit // chunk * chunk if fit >= chunk else next(n for n in range(fit, 0, -1) if chunk % n == 0)

    def sink(self, chains: range) -> Streamed:
        block = self._rows(len(chains) * self.log_joint.dim)
        return Streamed(self.store, self.log_joint, chains, self.draws, block, reading=self.reading)

    def put(self, chain: int, start: int, values: Mapping[str, Tensor]) -> None:
        if not self.reading:
            self.store.write(range(chain, chain + 1), start, {name: value[None] for name, value in values.items()})

    def taken(self, count: int, chains: Sequence[int] | None = None) -> dict[str, Any]:
        return stored(self.store, [site.name for site in self.log_joint.sites], count, chains)


class PartOf:
    """Some chains of a place, numbered from 0."""

    def __init__(self, place: Place, chains: range) -> None:
        self.place, self.begin, self.chains, self.block = place, chains.start, range(len(chains)), place.block
        self.held = {name: value[chains.start : chains.stop] for name, value in place.held.items()}

    def sink(self, chains: range) -> Sink:
        return self.place.sink(range(self.begin + chains.start, self.begin + chains.stop))

    def put(self, chain: int, start: int, values: Mapping[str, Tensor]) -> None:
        self.place.put(self.begin + chain, start, values)

    def taken(self, count: int, chains: Sequence[int] | None = None) -> dict[str, Any]:
        return self.place.taken(count, [self.begin + chain for chain in (self.chains if chains is None else chains)])


def stored(store: Disk, names: Sequence[str], count: int, chains: Sequence[int] | None = None) -> dict[str, Any]:
    """The first draws of these sites and chains (None: all), which stay on disk."""
    return {name: Stored.of(store.sites[name], chains, count) for name in names}


def blocks(log_joint: LogJoint, draws: int) -> Iterator[range]:
    """The draws of one chain in blocks of ``BLOCK`` bytes."""
    size = max(BLOCK // max(log_joint.dim * log_joint.dtype.itemsize, 1), 1)
    return (range(draws)[at : at + size] for at in range(0, draws, size))
