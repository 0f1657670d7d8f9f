"""What the full-batch samplers share: settings, and the run from data to Draws, spread over processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._interrupt import gently
from .._random import Streams, Use, generator
from .._ranks import ALONE, UNSPREAD, Pool, Spread
from .._scope import alone
from ..density import BestOf, ChunkedLogJoint, LogJoint, finite_at
from ..run import Checkpoint, Clock, Keeper, Lockstep, Recorder, Run
from ..types import Draws, Model
from ._compiling import pays, tiny
from ._draws import need_memory, place
from ._groups import with_draws
from ._kept import finished, keeping, kept, recorded
from ._loop import describe_run, interrupted, to_cpu
from ._over_ranks import gathered, groups_of, joined, lockstep, need_chains, pool_of, said_of, same_threads
from ._processes import Watch, how_many, one_thread, spread
from ._rows import density_of, need_all_rows, need_proper
from ._sampling import Sampling
from ._settings import at_least, flags, start_of, start_rule
from ._sinks import Sink
from ._steady import steady, threads_for

Start = Callable[[LogJoint, int, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class FullBatch:
    """Settings that the samplers on all rows have in common.

    chains, warmup, draws, thinning
        ``warmup`` transitions tune and are thrown away; then ``draws · thinning`` are made and every ``thinning``-th kept.
    init
        starting points: ``density.BestOf()``, the best of several tries; ``density.from_prior``, ``from_support``,
        ``Adam(...)``, ``FromNet(...)``, or a function of the same signature.
    compile
        compile the traced log joint and the sampler's step. A small one becomes C, which takes a second; others go through
        ``torch.compile``: five seconds to half a minute, then cheaper gradients (3 to 4 times on small tanh networks,
        nothing on LeNet-5). Both are kept for the next run. None: where that pays in a run of this length, as far as the
        numbers of operations and of transitions tell; ``attrs["compiled"]`` says what was done.
    processes
        over how many processes the chains are spread. None: one where a compiled step of all chains takes microseconds;
        else, on a CPU, as many as there are cores, at most one a chain. Where processes cannot be forked, their work is
        done in one, part after part, with the same draws.
        Chains in one process move in lockstep and share their tuning, so draws depend on this number.
    row_chunk
        evaluate the log joint in chunks of so many rows, so that memory does not grow with the data; sums in float64.
    """

    gradients: ClassVar[int] = 64  # of a transition, about
    between: ClassVar[int] = 0  # operations for each that a kernel compiles with it, where they are many
    chainwise: ClassVar[int] = 0  # where a call makes steps of one chain after the other: most products for a short one
    chains: int = 4
    warmup: int = 500
    draws: int = 500
    thinning: int = 1
    init: Start = BestOf()
    compile: bool | None = None
    processes: int | None = None
    row_chunk: int | None = None

    def __post_init__(self) -> None:
        at_least(self, chains=1, warmup=0, draws=1, thinning=1, processes=1, row_chunk=1)
        flags(self, "compile", none=True)
        start_rule(self)

    def program(self, dim: int, chains: int, pool: Pool = ALONE) -> Sampling:
        """What these settings describe, for ``chains`` chains in a process on a posterior of ``dim`` dimensions; all of
        ``pool`` tune together."""
        raise NotImplementedError

    @property
    def pooled(self) -> bool:
        """Whether chains tune together."""
        return True

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
        """Sample ``model(*data)``. Same seed, machine and number of processes, same draws; global random state is not
        touched. With ``checkpoint`` in a folder where it goes on after whatever has ended it. All ``ranks`` call this, and
        all return all draws.

        Raises DataError and ModelError before sampling starts. Ctrl-C returns the draws made so far.
        """
        need_chains(self, ranks)
        log_joint = density_of(
            model, data, row_chunk=self.row_chunk, device=device, compile=bool(self.compile), ranks=ranks.rows
        )
        need_all_rows(log_joint, type(self).__name__)
        need_proper(log_joint, type(self).__name__)
        need_memory(self, log_joint, 0 if checkpoint else self.draws, self.warmup)
        clock = Clock(log_joint.device)
        own = self._recorded(log_joint, ranks)
        with keeping(checkpoint, self, log_joint, data, seed, self.draws, ranks.all, **own) as keeper:
            if keeper and (found := finished(keeper)):
                return found
            with steady(log_joint, self.chains, recorded(keeper, "threads") or own["threads"]) as threads:
                count = recorded(keeper, "processes") or own["processes"]
                draws = self._run(log_joint, seed, threads, count, progress, keeper, ranks, clock)
            return kept(keeper, draws, ranks.all)

    def _recorded(self, log_joint: LogJoint, ranks: Spread) -> dict[str, Any]:
        several = ranks.all.several
        count = 1 if several or self._tiny(log_joint) else how_many(self.processes, self.chains, log_joint.device)
        threads = same_threads(ranks, threads_for(log_joint, self.chains, ranks.all))
        return {"processes": count, "threads": threads, "chain_ranks": ranks.chains.size, "row_ranks": ranks.rows.size}

    def _run(
        self,
        log_joint: LogJoint,
        seed: int,
        threads: int,
        count: int,
        progress: bool,
        keeper: Keeper | None,
        ranks: Spread,
        clock: Clock,
    ) -> Draws:
        groups = groups_of(self.chains, max(count, ranks.chains.size))
        pool = pool_of(ranks.chains, groups)

        where = place(keeper, self, log_joint, self.draws, warmup=self.warmup, shared=count > 1, ranks=ranks.rows)
        if self.compile is None and self._pays(log_joint, len(groups[0])):
            log_joint.compile_quietly()
        if count > 1:
            with one_thread():  # as in the processes: the compiler splits loops over the threads that there are
                for chains in set(map(len, groups)):
                    self._prepare(log_joint, chains)
        compile_time = clock.lap()

        def work(group: int, watch: Watch) -> dict[str, Any] | str:
            chains = groups[group]
            try:
                part = lockstep(ranks, keeper, group, chains, self.warmup if self.pooled else 0)
                return self._sample(log_joint, where.sink(chains), seed, chains, progress and group == 0, watch, part, pool)
            except KeyboardInterrupt as early:
                if ranks.all.several:
                    raise
                return str(early)

        if ranks.chains.several:
            parts = gathered(ranks.chains, groups, where.held, work(ranks.rank, lambda: None))
        else:
            parts = spread(work, count, cut_short=self._cut_short)
        made = with_draws(dict(zip(groups, parts, strict=True)), self.chains)
        parts, kept = list(made.values()), [chain for chains in made for chain in chains]
        done = min(part["draws"] for part in parts)
        short = interrupted(done, self.draws, "draws") or len(made) < len(groups)
        sites = where.taken(done, kept)
        stats, history = (joined([part[of] for part in parts]) for of in ("stats", "history"))
        lost = torch.cat([part["diverged"] for part in parts])
        attrs = describe_run(
            self,
            divergences=int(lost.sum()),
            doubts="; ".join(self.doubts(stats, lost)) or None,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            gradients=sum(part["gradients"] for part in parts),
            tuning_gradients=sum(part["tuning_gradients"] for part in parts),
            tuning_steps=self.warmup,
            compiled=all(part["compiled"] for part in parts),
            compile_time=compile_time,
            tuning_time=compile_time + max(part["tuning_time"] for part in parts),
            sampling_time=max(part["sampling_time"] for part in parts),
            processes_used=count,
            threads=1 if count > 1 else threads,
            interrupted=short,
            **said_of(ranks),
        )
        return Draws(sites, to_cpu(stats), to_cpu(history), attrs)

    def _cut_short(self, part: dict[str, Any] | str) -> bool:
        return isinstance(part, str) or part["draws"] < self.draws

    def _pays(self, log_joint: LogJoint, chains: int) -> bool:
        """Whether ``compile=None`` means to compile."""
        gradients = (self.warmup + self.draws * self.thinning) * self.gradients
        return not self._chunks(log_joint) and pays(log_joint, chains, gradients, self.between, self.chainwise > 0)

    def _tiny(self, log_joint: LogJoint) -> bool:
        """Whether a compiled step of all chains is so short that several processes would gain nothing."""
        if self.processes is not None or self.compile is False or self._chunks(log_joint):
            return False
        return tiny(log_joint, self.chains, self.chainwise) and (self.compile is True or self._pays(log_joint, self.chains))

    def _chunks(self, log_joint: LogJoint) -> bool:
        return bool(self.row_chunk) or isinstance(log_joint, ChunkedLogJoint)

    def _prepare(self, log_joint: LogJoint, chains: int) -> None:
        """Before forking, trace what processes then share; where the run is compiled also make one transition, thrown away:
        each process would compile the same, at the same time."""
        log_joint.build(chains)
        if not log_joint.compile:
            return
        run = self._ready(log_joint, Recorder(1), 0, range(chains))
        run.begin(BestOf(steps=0)(log_joint, chains, torch.Generator(log_joint.device).manual_seed(0)))
        run.advance()

    def _sample(
        self,
        log_joint: LogJoint,
        sink: Sink,
        seed: int,
        chains: range,
        progress: bool,
        watch: Watch,
        part: Lockstep,
        pool: Pool,
    ) -> dict[str, Any]:
        """Warm up and sample in this process, into ``sink``: how many draws, statistics, history and counts."""
        run = self._ready(log_joint, sink, seed, chains, pool)
        if not part.resume(run):
            start = start_of(self, log_joint, generator(log_joint.device, seed, Use.STARTS, chains.start), len(chains))
            finite_at(start, self.init, log_joint)
            run.begin(start)
            run.lap("warm-up")
        run.go(label=type(self).__name__, progress=progress, watch=watch, keep=part, alone=False)
        part.settled()
        if run.step < self.warmup:
            raise KeyboardInterrupt(f"interrupted in warm-up, after {run.step} of {self.warmup} transitions: no draws yet")
        if not sink.count:
            raise KeyboardInterrupt(f"interrupted before the first of {self.draws} draws: nothing to return")
        return {
            "draws": sink.count,
            "stats": sink.result(),
            "diverged": run.carry.diverged.cpu(),
            "compiled": log_joint.compiled,
            "history": {f"warmup_{name}": values for name, values in run.traced().items()},
            "gradients": sum(run.gradients.values()),
            "tuning_gradients": run.gradients["warm-up"],
            "tuning_time": run.seconds["warm-up"],
            "sampling_time": run.seconds["draws"],
        }

    def _ready(self, log_joint: LogJoint, sink: Any, seed: int, chains: range, pool: Pool = ALONE) -> Run:
        """A run of these chains that has yet to begin."""
        program = self.program(log_joint.dim, len(chains), pool)
        random = Streams(seed, Use.MOVES, chains, log_joint.device, log_joint.dtype)
        return Run(program, log_joint, random, sink, log_joint.device, count=lambda: log_joint.evaluations)

    def doubts(self, stats: dict[str, Tensor], diverged: Tensor) -> list[str]:
        """What the statistics of the draws give reason to doubt: ``fit`` says it aloud, together with what it finds itself.

        diverged: ``[chain]``, the transitions after warm-up that diverged, those that thinning leaves out included.
        """
        return []
