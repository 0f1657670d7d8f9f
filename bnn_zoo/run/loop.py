"""The loop that drives every sampler and optimiser, written once: progress, time, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .._interrupt import safe_point
from .program import Program
from .recorder import Recorder


def drive(
    step: Callable[[int], None],
    total: int,
    *,
    label: str,
    progress: bool,
    begin: int = 0,
    describe: Callable[[], str] = str,
    watch: Callable[[], None] | None = None,
) -> int:
    """Call ``step(begin)``, …, ``step(total − 1)``; return how many of the ``total`` are done. Ctrl-C ends it early, between
    two steps.

    ``describe()`` is what the bar says behind the rate: step size, divergences, loss. It is asked for at most five times a
    second, because it may have to wait for the device. ``watch()`` is called before each step and ends it early as well
    where it raises KeyboardInterrupt.
    """
    done, said = begin, 0.0
    with tqdm(total=total, initial=begin, desc=label, disable=not progress, leave=True, mininterval=0.2) as bar:
        try:
            for i in range(begin, total):
                safe_point()
                if watch:
                    watch()
                step(i)
                done += 1
                if progress:
                    now = time.monotonic()
                    if now - said > 0.2 or done == total:
                        bar.set_postfix_str(describe(), refresh=False)
                        said = now
                    bar.update()
        except KeyboardInterrupt:
            if progress:
                bar.set_postfix_str("interrupted")
    return done


class Clock:
    """Wall time since it was made or last read, with the device's queue emptied first."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lap()

    def lap(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        seconds = now - getattr(self, "last", now)
        self.last = now
        return seconds


@dataclass
class Run:
    """A program under way: where it is, what it has made, and how long that took.

    sink
        where draws go, by ``add(position, statistics)``.
    rows
        which rows step i sees.
    count
        gradients of one chain's log joint that were evaluated so far, over all chains.
    """

    program: Program
    target: Any
    random: Any
    sink: Any
    device: torch.device
    rows: Callable[[int], tuple[Tensor, ...]] = lambda _: ()
    count: Callable[[], int] = int
    carry: Any = None
    step: int = 0
    history: Recorder | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, int] = field(default_factory=dict)

    def begin(self, position: Tensor) -> None:
        self.carry = self.program.init(self.target, position, self.random)

    def go(self, *, label: str, progress: bool, watch: Callable[[], None] | None = None, before: int | None = None) -> None:
        """All steps that are left, or as many as there are until Ctrl-C. ``before``: gradients from which to count."""
        clock, end, before = Clock(self.device), 0, self.count() if before is None else before
        for name, steps in self.program.phases.items():
            begin, end = end, end + steps
            if self.step < end:
                drive(
                    self.advance,
                    steps,
                    begin=self.step - begin,
                    label=f"{label} {name}",
                    progress=progress,
                    describe=lambda: self.program.describe(self.carry),
                    watch=watch,
                )
            self.seconds[name] = self.seconds.get(name, 0.0) + clock.lap()
            self.gradients[name] = self.gradients.get(name, 0) + self.count() - before
            before = self.count()
            if self.step < end:
                return

    def advance(self, _: int = 0) -> None:
        """One step."""
        at = self.step
        self.carry, record = self.program.step(self.target, self.rows(at), self.carry, self.random, at)
        self.step = at + 1
        if record.trace is not None:
            if self.history is None:
                self.history = Recorder(self.program.traces)
            self.history.add(next(iter(record.trace.values())).unsqueeze(-1)[..., :0], record.trace)
        if record.draw is not None:
            self.sink.add(*record.draw)

    def traced(self) -> dict[str, Tensor]:
        """The history, ``{name: [chain, step]}``."""
        return self.history.result()[1] if self.history else {}
