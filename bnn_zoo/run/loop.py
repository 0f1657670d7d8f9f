"""The loop that drives every sampler and optimiser, written once: progress, time, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from .._interrupt import safe_point
from ..types import Compiling
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
    alone: bool = True,
) -> int:
    """Call ``step(begin)``, …, ``step(total − 1)``; return how many of the ``total`` are done. Ctrl-C ends it early, between
    two steps.

    ``describe()`` is what the bar says behind the rate: step size, divergences, loss. It is asked for at most five times a
    second, because it may have to wait for the device. ``watch()`` is called before each step and ends it early as well
    where it raises KeyboardInterrupt; not ``alone``, it is what Ctrl-C waits for, too.
    """
    done, said = begin, 0.0
    with tqdm(total=total, initial=begin, desc=label, disable=not progress, leave=True, mininterval=0.2) as bar:
        try:
            for i in range(begin, total):
                if alone:
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


class Keep(Protocol):
    """What keeps a run: ``due`` is called between two steps, ``save`` at the end, also at an early one."""

    def due(self, run: Run) -> None: ...

    def save(self, run: Run) -> None: ...


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

    def __post_init__(self) -> None:
        self.clock, self.counted = Clock(self.device), self.count()

    def begin(self, position: Tensor) -> None:
        """From ``position [chain, dim]``."""
        if isinstance(self.target, Compiling):
            self.target.anew(0)
        self.carry = self.program.init(self.target, position, self.random)

    def go(
        self,
        *,
        label: str,
        progress: bool,
        watch: Callable[[], None] | None = None,
        keep: Keep | None = None,
        alone: bool = True,
    ) -> None:
        """All steps that are left, or as many as there are until Ctrl-C, for which, not ``alone``, ``keep`` looks."""

        def between() -> None:
            if watch:
                watch()
            if keep:
                keep.due(self)

        end = 0
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
                    watch=between,
                    alone=alone,
                )
                self.lap(name)
            if self.step < end:
                break
        if keep:
            keep.save(self)

    @property
    def phase(self) -> str:
        """The phase of the next step; of the last one, at the end."""
        end = 0
        for name, steps in self.program.phases.items():
            end += steps
            if self.step < end:
                return name
        return name

    def lap(self, phase: str) -> None:
        """Seconds and gradients since the last time belong to this phase."""
        now = self.count()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + self.clock.lap()
        self.gradients[phase] = self.gradients.get(phase, 0) + now - self.counted
        self.counted = now

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

    @property
    def tree(self) -> dict[str, Any]:
        """All that the next step depends on, and what is told of those before, as a tree of tensors and numbers."""
        self.lap(self.phase)
        return {
            "step": self.step,
            "phases": dict(self.program.phases),
            "carry": self.carry,
            "random": self.random.tree,
            "history": self.history,
            "seconds": dict(self.seconds),
            "gradients": dict(self.gradients),
            "calls": self.target.calls if isinstance(self.target, Compiling) else 0,
        }

    @tree.setter
    def tree(self, tree: dict[str, Any]) -> None:
        self.step, self.carry, self.random.tree = tree["step"], tree["carry"], tree["random"]
        self.history, self.seconds, self.gradients = tree["history"], tree["seconds"], tree["gradients"]
        if isinstance(self.target, Compiling):
            self.target.anew(tree["calls"])
        self.clock, self.counted = Clock(self.device), self.count()
