"""A run that is kept in a folder: its state every few minutes, its draws as they come, and its result at the end.

``run.json`` says what the run is, ``draws`` is a store of the draws, ``state-…`` is where each part stands (some chains in a
process, or a restart): all that a part that was killed needs to go on with the same bits. Draws first, then the state
that counts them; draws beyond a state are dropped when it is taken up.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import Folder
from .loop import Run
from .store import Store, Variable

STORE = "draws"
"""The folder of the store in that of the run."""
RESULT = 9999
"""The part under whose number the result of all others is kept."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept, and how many minutes lie between two saves at the least."""

    path: str | PathLike[str]
    every: float = 5.0


class Keeper:
    """One run in its folder. ``recorded(name)`` is what was noted of the run when it began, None for a new one."""

    def __init__(self, folder: Folder, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.store: Store = None  # type: ignore[assignment]  # until open_store
        self.draws = 0
        """Draws of a chain that the run is to have."""

    @property
    def path(self) -> Path:
        return self.folder.path

    def open_store(self, sites: Mapping[str, Variable], chains: int, draws: int) -> None:
        """The store of the draws, made anew or the one that is there. Raises OSError where the disk has no room for it."""
        path, self.draws = self.path / STORE, draws
        if path.exists():
            self.store = Store.open(path)
            self.store.need_same(sites, chains)
            if self.store.draws < draws:
                self.store.extend(draws)
        else:
            self.store = Store.create(path, sites, chains=chains, draws=draws)

    def part(self, number: int, chains: range) -> Part:
        return Part(self, number, chains)

    def result(self) -> dict[str, Any] | None:
        """``complete`` of a run that came to its end; None where it is to have more draws since."""
        found = self.folder.read_state(RESULT)
        return found[1] if found and found[1]["of"] == self.draws else None

    def complete(self, draws: int, stats: Mapping[str, Tensor], more: dict[str, Any]) -> None:
        """Keep the result, a tree: so many draws of all chains, and statistics of them that no part has kept."""
        try:
            if left := {name: value for name, value in stats.items() if name not in self.store.stats}:
                self.store.add_stats({name: Variable((), value.dtype) for name, value in left.items()})
                self.store.write(range(self.store.chains), 0, {}, left)
            self.store.sync()
            self.folder.write_state(RESULT, 0, {"of": self.draws, "draws": draws, "stats": list(stats), **more})
        except OSError as error:
            warnings.warn(f"{error}: the result is returned, and not kept", stacklevel=2)


class Part:
    """Some chains of a run, alone in writing their state and their draws."""

    def __init__(self, keeper: Keeper, number: int, chains: range) -> None:
        self.keeper, self.number, self.chains = keeper, number, chains
        self.next = time.monotonic() + keeper.seconds
        self.saved = -1
        """The step of the last save."""

    def resume(self, run: Run, at: int | None = None) -> bool:
        """Take the run up where its last state leaves it, or that of step ``at``; False if there is none."""
        found = self.keeper.folder.read_state(self.number, at, device=run.device)
        if found is None:
            return False
        self.saved, tree = found
        run.tree = tree["run"]
        self.keeper.store.drop(self.chains, run.sink.restore(tree["sink"]))
        return True

    def due(self, run: Run) -> None:
        if time.monotonic() >= self.next:
            self.save(run)

    def save(self, run: Run) -> None:
        """Draws, then the state. A disk that is full does not end the run: a warning, and another try next time."""
        if run.step == self.saved:
            return
        try:
            sink = run.sink.tree  # what it has is written now
            self.keeper.store.sync()
            tree = {"run": run.tree, "sink": sink, "chains": [self.chains.start, self.chains.stop]}
            self.keeper.folder.write_state(self.number, run.step, tree)
            self.saved = run.step
        except OSError as error:
            warnings.warn(f"{error}: the run goes on, and is kept as it was at step {self.saved:,}", stacklevel=2)
        self.next = time.monotonic() + self.keeper.seconds
