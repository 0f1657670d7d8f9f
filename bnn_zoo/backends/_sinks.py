"""What takes draws as they come: in blocks off the device and into the sites' own space, in memory or on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ..density import LogJoint
from ..run import Recorder, Variable
from ..run.store import Store as Disk

BLOCK = 2**24
"""Bytes of positions that wait on the device before they move."""


class Sink(Protocol):
    """Takes draws of some chains. ``good`` is how many come before the first that is not finite."""

    room: int

    @property
    def count(self) -> int: ...

    @property
    def good(self) -> int: ...

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None: ...

    def result(self) -> dict[str, Tensor]: ...


class Store:
    """The draws of some chains, written into ``sites`` (a part of those in memory); their statistics stay on the device."""

    def __init__(self, log_joint: LogJoint, sites: Mapping[str, Tensor]) -> None:
        self.log_joint, self.sites = log_joint, sites
        self.chains, self.room = next(iter(sites.values())).shape[:2]
        size = self.chains * log_joint.dim * log_joint.dtype.itemsize
        self.block = min(self.room, max(BLOCK // max(size, 1), 1))
        self.waiting = Recorder(self.block)
        self.stats = Recorder(self.room)
        self.nothing = torch.empty(self.chains, 0)
        self.written = 0
        self.finite = torch.ones(self.room, dtype=torch.bool)

    @property
    def count(self) -> int:
        return self.stats.count

    @property
    def good(self) -> int:
        self.write()
        return before_lost(self.finite[: self.count])

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        """One more draw: positions ``[chain, dim]`` and statistics ``[chain]``."""
        if self.waiting.count == self.block:
            self.write()
        self.waiting.add(position, {})
        self.stats.add(self.nothing, stats)

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


class Streamed:
    """The draws of some chains, and their statistics, written to the store of the run."""

    def __init__(
        self, store: Disk, log_joint: LogJoint, chains: range, room: int, block: int, *, reading: bool = False
    ) -> None:
        self.store, self.log_joint, self.chains, self.room, self.reading = store, log_joint, chains, room, reading
        self.waiting = Recorder(block)
        self.written = 0
        self.names: list[str] = []
        """Of the statistics."""
        self.lost: int | None = None
        """The first draw that is not finite."""

    @property
    def count(self) -> int:
        return self.written + self.waiting.count

    @property
    def good(self) -> int:
        self.write()
        return self.count if self.lost is None else self.lost

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        """One more draw: positions ``[chain, dim]`` and statistics ``[chain]``. Raises OSError where the disk is full."""
        if self.waiting.count == self.waiting.room:
            self.write()
        self.waiting.add(position, stats)

    def write(self) -> None:
        """Write what waits. An interrupt or an error in here loses nothing: it is then written again."""
        count = self.waiting.count
        if not count:
            return
        positions, stats = self.waiting.result()
        self.names = list(stats)
        if any(name not in self.store.stats for name in stats):
            self.store.add_stats({name: Variable((), value.dtype) for name, value in stats.items()})
        if not self.reading:
            self.store.write(self.chains, self.written, self.log_joint.constrain(positions), stats)
        finite = torch.isfinite(positions).all(-1).all(0).cpu()
        if self.lost is None and not bool(finite.all()):
            self.lost = self.written + before_lost(finite)
        self.waiting.count, self.written = 0, self.written + count

    def result(self) -> dict[str, Tensor]:
        """All draws are in the store; their statistics ``{name: [chain, draw]}``, read from there."""
        self.write()
        span = slice(self.chains.start, self.chains.stop), slice(self.count)
        return {name: torch.from_numpy(self.store.stats[name][span]) for name in self.names}

    @property
    def tree(self) -> dict[str, Any]:
        self.write()
        return {"count": self.count, "lost": self.lost, "stats": self.names}

    def restore(self, tree: dict[str, Any]) -> int:
        """Go on behind the draws that are in the store; how many these are."""
        self.written, self.lost, self.names = tree["count"], tree["lost"], tree["stats"]
        return self.written


def before_lost(finite: Tensor) -> int:
    """How many of the draws ``finite [draw]`` come before the first that is not."""
    return len(finite) if bool(finite.all()) else int((~finite).int().argmax())
