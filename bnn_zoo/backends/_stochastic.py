"""What the stochastic-gradient samplers share: settings, the run from data to Draws, what is kept and warned of."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._interrupt import gently
from .._random import Streams, Use, generator
from .._ranks import ALONE, UNSPREAD, Pool, Spread
from .._scope import alone
from ..density import BestOf, LogJoint, finite_at
from ..diagnostics import ess_mean
from ..kernels.step_limit import StepLimit
from ..run import Checkpoint, Clock, Keeper, Run
from ..schedules import as_schedule
from ..types import Draws, Model, Schedule
from ._chains import Start
from ._diffusion import Diffusion
from ._draws import PartOf, Place, place
from ._kept import finished, keeping, kept, recorded
from ._loop import describe_run, interrupted, to_cpu
from ._over_ranks import (
    SELDOM,
    gathered,
    groups_of,
    joined,
    lockstep,
    need_chains,
    pool_of,
    said_of,
    same_threads,
)
from ._rows import need_all_rows, need_proper, rows_and_density, rows_at
from ._settings import at_least, flags, same_cycles, schedule_of, scheduled, start_of, start_rule
from ._steady import steady, threads_for

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

    streams: ClassVar[bool] = True  # draws come as the run goes, and not at its end
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

    def program(self, log_joint: LogJoint, pool: Pool = ALONE) -> Diffusion:
        """What these settings describe for this posterior; chains of ``pool`` have one limit of the step size."""
        rows = max((row.size for row in log_joint.rows), default=1)
        kernel = StepLimit(self.kernel(rows, warming=False), self.kernel(rows, warming=True), self.burn_in, pool)
        step_size, temperature = schedule_of(self, "step_size"), schedule_of(self, "temperature", zero=True)
        return Diffusion(type(self).__name__, kernel, self.steps, self.kept, step_size, temperature)

    def sink(self, where: Place) -> Any:
        """What takes positions: by default they are draws."""
        return where.sink(where.chains)

    def rescued(self, run: Run) -> None:
        """After Ctrl-C: what can be kept though it is no draw yet."""

    def finished(self, run: Run, where: Place, batches: Any) -> tuple[dict[str, Tensor], list[str]]:
        """After the last step: statistics ``[chain, draw]`` of the draws, which are now where they belong, and doubts."""
        stats = run.sink.result()
        keep, found = run.sink.good, self.lost(run.sink.good, run.sink.count)
        return {k: v[:, :keep] for k, v in stats.items()}, found

    def lost(self, keep: int, count: int) -> list[str]:
        """A doubt where only the first ``keep`` of ``count`` draws are finite."""
        if keep == count:
            return []
        if keep == 0:
            raise FloatingPointError(f"{type(self).__name__} diverged before its first draw: use a smaller step_size")
        return [f"it diverged, and only the first {keep} draws are kept, which are finite: use a smaller step_size"]

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
        checkpoint: Checkpoint | None = None,
        ranks: Spread = UNSPREAD,
    ) -> Draws:
        """Sample ``model``: ``data`` is a tuple of tensors, or any torch Dataset of such tuples with ``batch_size``.

        Raises DataError and ModelError before sampling starts, FloatingPointError where a chain runs away. Ctrl-C returns
        the draws made so far. With ``checkpoint`` in a folder where it goes on after whatever has ended it. All ``ranks``
        call this, and all return all draws.
        """
        need_chains(self, ranks)
        chains = groups_of(self.chains, ranks.chains.size)[ranks.chains.rank]
        log_joint, batches = rows_and_density(
            model,
            data,
            batch_size=self.batch_size,
            chains=chains,
            seed=seed,
            device=device,
            compile=self.compile,
            ranks=ranks.rows,
        )
        if batches is None:
            need_all_rows(log_joint, type(self).__name__)
        need_proper(log_joint, type(self).__name__)
        threads = same_threads(ranks, threads_for(log_joint, self.chains, ranks.all))
        own: dict[str, Any] = {"threads": threads, "chain_ranks": ranks.chains.size, "row_ranks": ranks.rows.size}
        with keeping(checkpoint, self, log_joint, data, seed, self.drawn, ranks.all, **own) as keeper:
            if keeper and (found := finished(keeper)):
                return found
            with steady(log_joint, self.chains, recorded(keeper, "threads") or threads) as threads:
                draws = self._run(log_joint, batches, seed, threads, progress, keeper, ranks)
            return kept(keeper, draws, ranks.all)

    def _run(
        self,
        log_joint: LogJoint,
        batches: Any,
        seed: int,
        threads: int,
        progress: bool,
        keeper: Keeper | None,
        ranks: Spread,
    ) -> Draws:
        groups = groups_of(self.chains, ranks.chains.size)
        chains = groups[ranks.chains.rank]
        program = self.program(log_joint, pool_of(ranks.chains, groups))
        every = place(keeper, self, log_joint, self.drawn, held=self.held, ranks=ranks.rows)
        where = PartOf(every, chains)
        random = Streams(seed, Use.MOVES, chains, log_joint.device, log_joint.dtype)
        run = Run(
            program,
            log_joint,
            random,
            self.sink(where),
            log_joint.device,
            rows=lambda step: rows_at(batches, step),
            count=lambda: log_joint.evaluations,
        )
        part = lockstep(ranks, keeper, ranks.chains.rank, chains, self.burn_in, SELDOM)
        if not part.resume(run):
            numbers = generator(log_joint.device, seed, Use.STARTS, chains.start)
            start = start_of(self, log_joint, numbers, len(chains))
            finite_at(start, self.init, log_joint)
            run.begin(start)
            run.lap("burn-in")
        run.go(label=type(self).__name__, progress=progress, keep=part, alone=False)
        part.settled()
        if run.step < self.burn_in:
            raise KeyboardInterrupt(f"interrupted in burn-in, after {run.step} of {self.burn_in} steps: no draws yet")
        clock = Clock(log_joint.device)
        if run.step < self.steps:
            self.rescued(run)
            if not self.streams:  # the draws that are made now are not those that will be kept
                every = place(None, self, log_joint, self.drawn, held=self.held)
                where = PartOf(every, chains)
        short = interrupted(run.sink.count, run.sink.room, "draws") or run.step < self.steps
        stats, doubts = self.finished(run, where, batches)
        part_made = {"stats": stats, "history": run.traced(), "doubts": doubts, "short": short}
        parts = gathered(ranks.chains, groups, every.held, part_made | {"gradients": sum(run.gradients.values())})
        stats, history = (joined([p[of] for p in parts]) for of in ("stats", "history"))
        count = next(iter(stats.values())).shape[1]
        attrs = describe_run(
            self,
            doubts="; ".join(dict.fromkeys([d for p in parts for d in p["doubts"]] + self.doubts(stats))) or None,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            gradients=sum(p["gradients"] for p in parts),
            batch_size=self.batch_size or "all",
            tuning_steps=self.burn_in,
            tuning_time=run.seconds["burn-in"],
            sampling_time=run.seconds["draws"] + clock.lap(),
            threads=threads,
            interrupted=any(p["short"] for p in parts),
            **said_of(ranks),
        )
        return Draws(every.taken(count), to_cpu(stats), to_cpu(history), attrs)

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
