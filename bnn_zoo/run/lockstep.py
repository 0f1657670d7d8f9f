"""Ranks that share steps, for tuning or for rows: they stop, save and take up their run at the same of them."""

from __future__ import annotations

import time

import torch

from .._interrupt import asked, safe_point
from .._ranks import Ranks
from .checkpoint import KEPT
from .keeper import Part
from .loop import Run


class Lockstep:
    """Keeps a run whose steps before number ``until`` are made by all ranks together: none could make one alone.

    Whether one of them was interrupted, or the time has come to save, they ask each other before every ``every``-th of these
    steps. Later steps each makes for itself. ``part`` is where it is kept, None for a run that is not. With ``one`` all
    ranks have the same state, and the first saves it for all.
    """

    def __init__(self, ranks: Ranks, until: int, part: Part | None, *, every: int = 1, one: bool = False) -> None:
        self.ranks, self.until, self.part, self.every = ranks, until, part, every
        self.reading = one and ranks.rank > 0
        self.one, self.below = one, until > 0

    def resume(self, run: Run) -> bool:
        """Take the run up where it is on all ranks; False where that is nowhere: it begins anew, with the same draws."""
        if self.part is None:
            return False
        if self.reading:
            self.ranks.wait()  # the first drops draws that are beyond the state
        at = self._common(self.part)
        found = at is not None and self.part.resume(run, at)
        if self.one and not self.reading:
            self.ranks.wait()
        self.below = run.step < self.until
        return found

    def settled(self) -> None:
        """After the steps: where ranks have the same draws, those that the first has written are there for all."""
        if self.one and self.part:
            self.ranks.wait()

    def due(self, run: Run) -> None:
        if run.step >= self.until:
            if self.below:
                self.save(run)
                self.ranks.wait()  # else one might save later states, and lose that of a step that all have made
                self.below = False
            safe_point()
            if self.part:
                self.part.due(run)
        elif run.step % self.every == 0:
            late = self.part is not None and not self.reading and time.monotonic() >= self.part.next
            stop, save = self.ranks.any(asked(), late)
            if save:
                self.save(run)
            if stop:
                raise KeyboardInterrupt

    def save(self, run: Run) -> None:
        if self.part and not self.reading:
            self.part.save(run)

    def _common(self, part: Part) -> int | None:
        """The last step of which there is a state: on this rank, if all have made the steps that they share; else on all."""
        states = part.keeper.folder.states(part.number)[-KEPT:]
        if not self.until:
            return max(states, default=None)
        padded = torch.tensor([-1] * (KEPT - len(states)) + states)
        every = [one.tolist() for one in (self.ranks.every(padded) if not self.one else [padded])]
        if min(one[-1] for one in every) >= self.until:
            return states[-1]
        return max(set.intersection(*map(set, every)) - {-1}, default=None)
