"""The loop that drives every sampler and optimiser, written once: progress, time, interruption, storage."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .._interrupt import safe_point
from .._random import whole_seed


def drive(
    step: Callable[[int], None],
    total: int,
    *,
    label: str,
    progress: bool,
    describe: Callable[[], str] = str,
    watch: Callable[[], None] | None = None,
) -> int:
    """Call ``step(0)``, ``step(1)``, … ``total`` times; return how many were completed. Ctrl-C ends it early,
    between two steps.

    ``describe()`` is what the bar says behind the rate: step size, divergences, loss. It is asked for at most five times a
    second, because it may have to wait for the device. ``watch()`` is called before each step and ends it early as well
    where it raises KeyboardInterrupt.
    """
    done, said = 0, 0.0
    with tqdm(total=total, desc=label, disable=not progress, leave=True, mininterval=0.2) as bar:
        try:
            for i in range(total):
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


def interrupted(done: int, total: int, what: str) -> bool:
    """Whether a run was cut short: nothing kept raises KeyboardInterrupt, something kept warns and goes on."""
    if done == total:
        return False
    if done == 0:
        raise KeyboardInterrupt(f"interrupted before the first of {total} {what}: nothing to return")
    warnings.warn(f"interrupted: {done} of {total} {what} were made and are returned", stacklevel=3)
    return True


@dataclass
class Recorder:
    """Draws in memory: positions ``[draw, chain, dim]`` and statistics ``[draw, chain]``, of ``room`` draws at most."""

    room: int
    count: int = 0
    positions: Tensor | None = None
    stats: dict[str, Tensor] = field(default_factory=dict)

    def add(self, position: Tensor, stats: Mapping[str, Tensor]) -> None:
        if self.positions is None:
            self.positions = position.new_empty((self.room, *position.shape))
            self.stats = {k: v.new_empty((self.room, *v.shape)) for k, v in stats.items()}
        self.positions[self.count] = position
        for name, value in stats.items():
            self.stats[name][self.count] = value
        self.count += 1

    def result(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Positions ``[chain, draw, dim]`` and statistics ``[chain, draw]`` of the draws made so far."""
        assert self.positions is not None
        kept = {k: v[: self.count].transpose(0, 1) for k, v in self.stats.items()}
        return self.positions[: self.count].transpose(0, 1), kept


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


def describe_run(backend: Any, *, seed: int, device: torch.device, dtype: torch.dtype, **more: Any) -> dict[str, Any]:
    """The attrs of a run: backend, its settings as JSON, seed, place, versions, and whatever else is given."""
    settings = {f.name: getattr(backend, f.name) for f in fields(backend)}
    return {
        "backend": type(backend).__name__,
        "settings": json.dumps(settings, default=lambda value: getattr(value, "__name__", repr(value))),
        "seed": whole_seed(seed),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "torch_version": str(torch.__version__),
        "pyro_version": version("pyro-ppl"),
        **more,
    }


def to_cpu(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in values.items()}
