"""Stochastic-gradient Langevin dynamics as a backend."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch

from .. import kernels
from ..density import LogJoint, from_prior
from ..schedules import as_schedule
from ..types import Draws, Model, Schedule
from ._chains import Start
from ._loop import Clock, Recorder, at_least, describe_run, drive, interrupted, to_cpu, within
from ._rows import next_rows, rows_and_density


@dataclass(frozen=True, kw_only=True)
class SGLD:
    """``θ ← θ + ε/2 (∇log prior + N/n Σ_batch ∇log likelihood) + √(ε T) ξ``. Welling & Teh 2011.

    No accept step: biased at finite ε, so compare two step sizes. Chains see independent minibatches.

    step_size
        ε as a number or a schedule of the step (``schedules.cosine(1e-4)``); a fair start is 1/N.
    temperature
        T: 1 samples the posterior, 0 is gradient ascent on the log joint, a schedule anneals.
    steps, warmup, thinning
        ``steps`` in all; the first ``warmup`` (half by default) are burn-in; then every ``thinning``-th is a draw (by
        default so that at most 1,000 a chain are kept).
    batch_size
        rows in a minibatch; None uses all rows. Needed for a torch Dataset.
    """

    chains: int = 4
    steps: int = 10_000
    warmup: int | None = None
    thinning: int | None = None
    batch_size: int | None = None
    step_size: float | Schedule = 1e-4
    temperature: float | Schedule = 1.0
    init: Start = from_prior
    compile: bool = False

    def __post_init__(self) -> None:
        at_least(self, chains=1, steps=1, warmup=0, thinning=1, batch_size=1)
        within(self, step_size=(0.0, float("inf")))
        if not callable(self.temperature) and not self.temperature >= 0:
            raise ValueError(f"SGLD: temperature must be at least 0, got {self.temperature}")
        if self.thinning is not None and self.thinning > self.steps - self.burn_in:
            kept = self.steps - self.burn_in
            raise ValueError(f"SGLD: thinning={self.thinning} leaves no draw of the {kept} steps after burn-in: thin less")
        if self.burn_in >= self.steps:
            raise ValueError(f"SGLD: warmup={self.warmup} leaves no draw of steps={self.steps}: make more steps")

    @property
    def burn_in(self) -> int:
        return self.steps // 2 if self.warmup is None else self.warmup

    @property
    def every(self) -> int:
        return self.thinning or ceil((self.steps - self.burn_in) / 1000)

    def run(
        self,
        model: Model,
        data: Any,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Draws:
        """Sample ``model``: ``data`` is a tuple of tensors, or any torch Dataset of such tuples with ``batch_size``."""
        log_joint, batches = rows_and_density(
            model, data, batch_size=self.batch_size, chains=self.chains, seed=seed, device=device, compile=self.compile
        )
        clock = Clock(log_joint.device)
        walk = Walk(self, log_joint, batches, torch.Generator(log_joint.device).manual_seed(seed))
        done = drive(walk.step, self.burn_in, label="SGLD burn-in", progress=progress, describe=walk.describe)
        if done < self.burn_in:
            raise KeyboardInterrupt(f"interrupted in burn-in, after {done} of {self.burn_in} steps: no draws yet")
        walk.check()
        tuning_time = clock.lap()
        total = self.steps - self.burn_in
        drive(walk.sample, total, label="SGLD draws", progress=progress, describe=walk.describe)
        short = interrupted(walk.kept.count, total // self.every, "draws")
        positions, stats = walk.finite_draws()
        attrs = describe_run(
            self,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            gradients=log_joint.evaluations,
            batch_size=self.batch_size or "all",
            tuning_steps=self.burn_in,
            tuning_time=tuning_time,
            sampling_time=clock.lap(),
            interrupted=short,
        )
        return Draws(to_cpu(log_joint.constrain(positions)), to_cpu(stats), to_cpu(walk.history()), attrs)


class Walk:
    """One run under way."""

    def __init__(self, settings: SGLD, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> None:
        self.settings, self.log_joint, self.batches, self.generator = settings, log_joint, batches, generator
        self.step_size = as_schedule(settings.step_size, settings.steps)
        self.temperature = as_schedule(settings.temperature, settings.steps)
        self.kernel = kernels.SGLD()
        self.state = self.kernel.init(settings.init(log_joint, settings.chains, generator), log_joint)
        self.kept = Recorder(max((settings.steps - settings.burn_in) // settings.every, 1))
        self.trace_every = max(settings.steps // 1000, 1)
        self.trace = Recorder(settings.steps // self.trace_every + 1)
        self.at = 0
        self.info: Any = None

    def step(self, _: int) -> None:
        rows = next_rows(self.batches)
        self.epsilon, self.heat = self.step_size(self.at), self.temperature(self.at)
        self.state, self.info = self.kernel.step(
            self.state, lambda q: self.log_joint(q, *rows), self.epsilon, self.heat, self.generator
        )
        if self.at % self.trace_every == 0:
            self.trace.add(self.info.lp.unsqueeze(-1), {"lp": self.info.lp})
        self.at += 1

    def sample(self, i: int) -> None:
        self.step(i)
        if (i + 1) % self.settings.every == 0:
            lp = self.info.lp
            self.kept.add(
                self.state.position,
                {
                    "lp": lp,
                    "step_size": torch.full_like(lp, self.epsilon),
                    "temperature": torch.full_like(lp, self.heat),
                },
            )

    def check(self) -> None:
        """Raise FloatingPointError if a chain has run away."""
        if not bool(torch.isfinite(self.state.position).all()):
            raise FloatingPointError(
                f"SGLD diverged in burn-in: a chain reached non-finite weights by step {self.at} at step size "
                f"{self.epsilon:g}; use a smaller step_size (try {self.epsilon / 10:g})"
            )

    def finite_draws(self) -> Any:
        """The draws, cut before the first non-finite one, with a warning if there is one."""
        positions, stats = self.kept.result()
        bad = ~torch.isfinite(positions).all(-1).all(0)
        if bool(bad.any()):
            keep = int(bad.int().argmax())
            if keep == 0:
                raise FloatingPointError("SGLD diverged before its first draw: use a smaller step_size")
            warnings.warn(f"SGLD diverged: {keep} finite draws are returned; use a smaller step_size", stacklevel=3)
            positions, stats = positions[:, :keep], {k: v[:, :keep] for k, v in stats.items()}
        return positions, stats

    def describe(self) -> str:
        return f"step size {self.epsilon:.2e}, log joint {float(self.info.lp.mean()):.4g}"

    def history(self) -> dict[str, torch.Tensor]:
        return {"lp": self.trace.result()[1]["lp"]} if self.trace.count else {}
