"""What the stochastic-gradient samplers share: settings, the run from data to Draws, what is kept and warned of."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor

from .._interrupt import gently
from .._random import Use, generator
from .._scope import alone
from ..density import BestOf, LogJoint, finite_at
from ..diagnostics import ess_mean
from ..schedules import as_schedule
from ..types import Draws, Model, Schedule
from ._chains import Start
from ._draws import Store, room, some
from ._loop import Clock, Recorder, describe_run, drive, interrupted, to_cpu
from ._rows import need_all_rows, need_proper, next_rows, rows_and_density
from ._settings import at_least, flags, same_cycles, schedule_of, scheduled, start_of, start_rule
from ._stability import Stability
from ._steady import steady

TEMPERATURES = ("configurational_temperature", "kinetic_temperature")


@dataclass(frozen=True, kw_only=True)
class StochasticGradient:
    """Settings that all stochastic-gradient samplers have in common.

    step_size
        ε as a number or a schedule of the step (``schedules.cosine(1e-4)``). It means the same in all of them: the gradient
        of the log joint enters with ε/2. What is too large for the posterior's curvature λ is lowered in burn-in, to 2/λ,
        with a warning that says to what; halve that and compare (``PSGLD`` and ``scale_adapted`` have scales of their own).
    temperature
        T: 1 samples the posterior, 0 is gradient ascent on the log joint, a schedule anneals. Steps at T = 0 of a schedule
        that is not 0 throughout are exploration: no draw is kept there.
    steps, warmup, thinning
        ``steps`` in all; the first ``warmup`` (half by default) are burn-in; then every ``thinning``-th is a draw (by
        default so that at most 1,000 a chain are kept).
    batch_size
        rows in a minibatch; None uses all rows. Needed for a torch Dataset. Chains see independent minibatches.
    """

    chains: int = 4
    steps: int = 10_000
    warmup: int | None = None
    thinning: int | None = None
    batch_size: int | None = None
    step_size: float | Schedule = 1e-4
    temperature: float | Schedule = 1.0
    init: Start = BestOf()
    compile: bool = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        at_least(self, chains=1, steps=1, warmup=0, thinning=1, batch_size=1)
        flags(self, "compile")
        start_rule(self)
        scheduled(self, "step_size")
        scheduled(self, "temperature", zero=True)
        same_cycles(self.step_size, self.temperature, name)
        if self.burn_in >= self.steps:
            raise ValueError(f"{name}: warmup={self.warmup} leaves no draw of steps={self.steps}: make more steps")
        if not len(self.kept):
            left = len(self._sampling)
            raise ValueError(
                f"{name}: thinning={self.thinning} leaves no draw of the {left} steps after burn-in: thin less, and let the "
                "temperature be above 0 there"
            )

    @property
    def burn_in(self) -> int:
        return self.steps // 2 if self.warmup is None else self.warmup

    @property
    def _sampling(self) -> range | list[int]:
        """Steps that may become draws."""
        after = range(self.burn_in, self.steps)
        if not callable(self.temperature):
            return after
        temperature = as_schedule(self.temperature, self.steps)
        return [i for i in after if temperature(i) > 0] or after

    @property
    def kept(self) -> range | list[int]:
        """The steps that are draws."""
        steps = self._sampling
        every = self.thinning or ceil(len(steps) / 1000)
        return steps[every - 1 :: every]

    @property
    def drawn(self) -> int:
        """Draws of each chain that are returned."""
        return len(self.kept)

    @property
    def held(self) -> int:
        """Positions of each chain that are held beside them."""
        return 0

    def kernel(self, rows: int, *, warming: bool) -> Any:
        """The transition kernel for a posterior of so many rows, in burn-in and after."""
        raise NotImplementedError

    def walk(self, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> StochasticWalk:
        """A run about to begin."""
        return StochasticWalk(self, log_joint, batches, generator)

    @alone()
    @gently("all draws are made")
    def run(
        self,
        model: Model,
        data: Any,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Draws:
        """Sample ``model``: ``data`` is a tuple of tensors, or any torch Dataset of such tuples with ``batch_size``.

        Raises DataError and ModelError before sampling starts, FloatingPointError where a chain runs away. Ctrl-C returns
        the draws made so far.
        """
        log_joint, batches = rows_and_density(
            model, data, batch_size=self.batch_size, chains=self.chains, seed=seed, device=device, compile=self.compile
        )
        if batches is None:
            need_all_rows(log_joint, type(self).__name__)
        need_proper(log_joint, type(self).__name__)
        with steady(log_joint, self.chains) as threads:
            return self._run(log_joint, batches, seed, threads, progress)

    def _run(self, log_joint: LogJoint, batches: Any, seed: int, threads: int, progress: bool) -> Draws:
        name = type(self).__name__
        clock = Clock(log_joint.device)
        sites = room(self, log_joint, self.drawn, held=self.held)
        walk = self.walk(log_joint, batches, generator(log_joint.device, seed, Use.MOVES))
        walk.into(sites)
        done = drive(walk.warm, self.burn_in, label=f"{name} burn-in", progress=progress, describe=walk.describe)
        if done < self.burn_in:
            raise KeyboardInterrupt(f"interrupted in burn-in, after {done} of {self.burn_in} steps: no draws yet")
        walk.settle()
        tuning_time = clock.lap()
        total = self.steps - self.burn_in
        done = drive(walk.sample, total, label=f"{name} draws", progress=progress, describe=walk.describe)
        walk.end()
        short = interrupted(walk.kept.count, walk.kept.room, "draws") or done < total
        stats = walk.finish()
        attrs = describe_run(
            self,
            doubts="; ".join([*walk.doubts, *self.doubts(stats)]) or None,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            gradients=log_joint.evaluations,
            batch_size=self.batch_size or "all",
            tuning_steps=self.burn_in,
            tuning_time=tuning_time,
            sampling_time=clock.lap(),
            threads=threads,
            interrupted=short,
        )
        count = next(iter(stats.values())).shape[1]
        return Draws(some(sites, count), to_cpu(stats), to_cpu(walk.history()), attrs)

    def doubts(self, stats: dict[str, Tensor]) -> list[str]:
        """A temperature of the draws that is off what was asked for: steps too large, or heat from minibatches."""
        if "temperature" not in stats:
            return []
        wanted, found = stats["temperature"].double(), []
        if not bool((wanted > 0).all()) or wanted.shape[1] < 20:
            return []
        for name in TEMPERATURES:
            if name not in stats:
                continue
            ratio = stats[name].double() / wanted
            error = (ratio.var() / ess_mean(ratio).clamp(min=1.0)).sqrt()
            off = float(ratio.mean() - 1.0)
            if abs(off) > 0.1 + 4.0 * float(error):
                hot = "steps or noise of minibatches are too large: take a smaller step_size or larger batches"
                cold = "chains have not spread as far as the posterior does: make more steps"
                found.append(
                    f"the {name.replace('_', ' ')} of the draws is {1 + off:.2f} times the one asked for (standard error "
                    f"{float(error):.2f}), {hot if off > 0 else cold}"
                )
        return found


class StochasticWalk:
    """One run under way."""

    def __init__(self, settings: StochasticGradient, log_joint: LogJoint, batches: Any, generator: torch.Generator) -> None:
        self.settings, self.log_joint, self.batches, self.generator = settings, log_joint, batches, generator
        self.step_size = schedule_of(settings, "step_size")
        self.temperature = schedule_of(settings, "temperature", zero=True)
        self.rows = max((row.size for row in log_joint.rows), default=1)
        self.kernel = settings.kernel(self.rows, warming=True)
        start = start_of(settings, log_joint, generator)
        finite_at(start, settings.init, log_joint)
        self.doubts: list[str] = []
        self.state = self.kernel.init(start, log_joint)
        wanted = settings.kept
        self.wanted = iter(wanted)
        self.kept: Recorder | Store = Recorder(len(wanted))
        self.next = next(self.wanted)
        self.trace_every = max(settings.steps // 1000, 1)
        self.trace = Recorder(settings.steps // self.trace_every + 1)
        self.at = 0
        self.reference = start
        self.info: Any = None
        self.stability, self.limit, self.warming = Stability(generator), float("inf"), False

    def warm(self, i: int) -> None:
        """A step of burn-in: no larger than the curvature allows, where all coordinates have one step size."""
        self.warming = self.kernel.one_scale
        self.step(i)

    def into(self, sites: dict[str, Tensor]) -> None:
        """Draws go there, ``{site: [chain, draw, *shape]}``."""
        self.kept = Store(self.log_joint, sites)

    def step(self, _: int) -> None:
        rows, wanted = next_rows(self.batches), self.step_size(self.at)
        if self.warming:
            return self._careful(rows, wanted)
        log_joint = self.log_joint
        self._move((lambda q: log_joint(q, *rows)) if rows else log_joint, min(wanted, self.limit))

    def _careful(self, rows: tuple[Tensor, ...], wanted: float) -> None:
        position = self.state.position
        value, gradient = self.log_joint(position, *rows)
        allowed, far = self.stability.allowed(self.at, wanted, position, gradient, lambda q: self.log_joint(q, *rows)[1])
        if self.at and (far or allowed != self.epsilon):
            self.state = self.kernel.resized(self.state, 0.0 if far else allowed / self.epsilon)
        self._move(lambda _: (value, gradient), allowed)
        self.limit = self.stability.limit

    def _move(self, target: Any, step_size: float) -> None:
        self.epsilon, self.heat = step_size, self.temperature(self.at)
        self.state, self.info = self.kernel.step(self.state, target, self.epsilon, self.heat, self.generator)
        if self.at % self.trace_every == 0:
            self.trace.add(self.info.lp.unsqueeze(-1), {"lp": self.info.lp})
        self.at += 1

    def settle(self) -> None:
        """End of burn-in: raise FloatingPointError if a chain has run away, and take the kernel of the draws."""
        if not bool(torch.isfinite(self.state.position).all()):
            raise FloatingPointError(
                f"{type(self.settings).__name__} diverged in burn-in: a chain reached non-finite weights by step {self.at} "
                f"at step size {self.epsilon:g}; use a smaller step_size (try {self.epsilon / 10:g})"
            )
        wanted = max(self.step_size(i) for i in {self.at, (self.at + self.settings.steps) // 2, self.settings.steps - 1})
        if wanted > self.limit:
            warnings.warn(
                f"{type(self.settings).__name__}: step_size={wanted:.2g} is not stable on this posterior: steps of at most "
                f"{self.limit:.2g} are made, two over its largest curvature at the end of burn-in; set step_size to that or "
                "less (or, if burn-in was too short to find the posterior, make more steps)",
                stacklevel=5,
            )
        self.kernel, self.warming = self.settings.kernel(self.rows, warming=False), False
        self.reference = self.state.position.clone()

    def sample(self, i: int) -> None:
        at = self.at
        self.step(i)
        if at == self.next:
            self.kept.add(self.state.position, self.statistics())
            self.next = next(self.wanted, -1)

    def end(self) -> None:
        """After the last step, or after Ctrl-C."""

    def statistics(self) -> dict[str, Tensor]:
        """What is kept of a draw, ``{name: [chain]}``."""
        lp, kinetic = self.info.lp, self.info.kinetic_temperature
        stats = {
            "lp": lp,
            "step_size": torch.full_like(lp, self.epsilon),
            "temperature": torch.full_like(lp, self.heat),
            "configurational_temperature": self.info.configurational_temperature(self.reference),
        }
        return stats if kinetic is None else stats | {"kinetic_temperature": kinetic}

    def finish(self) -> dict[str, Tensor]:
        """Statistics ``[chain, draw]`` of the draws, which are now where they go: cut before the first non-finite one."""
        assert isinstance(self.kept, Store)
        stats = self.kept.result()
        keep = self.finite(self.kept.finite[: self.kept.count])
        return {k: v[:, :keep] for k, v in stats.items()}

    def finite(self, good: Tensor) -> int:
        """How many of the draws ``good [draw]`` come before the first that is not finite, a doubt if one is."""
        if bool(good.all()):
            return len(good)
        name, keep = type(self.settings).__name__, int((~good).int().argmax())
        if keep == 0:
            raise FloatingPointError(f"{name} diverged before its first draw: use a smaller step_size")
        self.doubts.append(
            f"it diverged, and only the first {keep} draws are kept, which are finite: use a smaller step_size"
        )
        return keep

    def describe(self) -> str:
        return f"step size {self.epsilon:.2e}, log joint {float(self.info.lp.mean()):.4g}"

    def history(self) -> dict[str, Tensor]:
        return {"lp": self.trace.result()[1]["lp"]} if self.trace.count else {}
