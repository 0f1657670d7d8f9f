"""What the full-batch samplers share: the run from data to Draws around a walk of all chains, spread over processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._interrupt import gently
from .._random import Use, generator
from .._scope import alone
from ..density import BestOf, LogJoint
from ..types import Draws, Model
from ._compiling import pays
from ._draws import Store, room, some
from ._loop import Clock, Recorder, describe_run, drive, interrupted, to_cpu
from ._processes import Ended, Watch, how_many, one_thread, spread
from ._rows import density_of, need_all_rows, need_proper
from ._settings import at_least, flags, start_of, start_rule
from ._steady import steady

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
        pass the traced log joint to ``torch.compile``: five seconds to half a minute first, then cheaper gradients (3 to 4
        times on small tanh networks, nothing on LeNet-5). None: where that pays in a run of this length, as far as the
        numbers of operations and of transitions tell; ``attrs["compiled"]`` says what was done.
    processes
        over how many processes the chains are spread. None: on a CPU as many as there are cores, at most one a chain.
        Chains in one process move in lockstep and share their tuning, so draws depend on this number.
    row_chunk
        evaluate the log joint in chunks of so many rows, so that memory does not grow with the data; sums in float64.
    """

    gradients: ClassVar[int] = 64  # of a transition, about
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

    def walk(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Walk:
        """A run of ``chains`` chains, about to begin: each sampler has its own."""
        raise NotImplementedError

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
        """Sample ``model(*data)``. Same seed, machine and number of processes, same draws; global random state is not
        touched.

        Raises DataError and ModelError before sampling starts. Ctrl-C returns the draws made so far.
        """
        log_joint = density_of(model, data, row_chunk=self.row_chunk, device=device, compile=bool(self.compile))
        need_all_rows(log_joint, type(self).__name__)
        need_proper(log_joint, type(self).__name__)
        with steady(log_joint, self.chains) as threads:
            return self._run(log_joint, seed, threads, progress)

    def _run(self, log_joint: LogJoint, seed: int, threads: int, progress: bool) -> Draws:
        count = how_many(self.processes, self.chains, log_joint.device)
        sizes = [self.chains // count + (i < self.chains % count) for i in range(count)]

        sites = room(self, log_joint, self.draws, warmup=self.warmup, shared=count > 1)
        clock = Clock(log_joint.device)
        if self.compile is None and self._pays(log_joint, sizes[0]):
            log_joint.compile_quietly()
        if count > 1:
            with one_thread():  # as in the processes: the compiler splits loops over the threads that there are
                for chains in set(sizes):
                    self._prepare(log_joint, chains)
        compile_time = clock.lap()

        ends = list(accumulate(sizes))
        groups = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]

        def work(group: int, watch: Watch) -> dict[str, Any] | str:
            chains = groups[group]
            store = Store(log_joint, {name: value[chains.start : chains.stop] for name, value in sites.items()})
            moves = generator(log_joint.device, seed, Use.MOVES, group)
            try:
                return self._sample(log_joint, store, moves, progress and group == 0, watch)
            except KeyboardInterrupt as early:
                return str(early)

        made = self._with_draws(dict(zip(groups, spread(work, count, cut_short=self._cut_short), strict=True)))
        parts, kept = list(made.values()), [chain for chains in made for chain in chains]
        done = min(part["draws"] for part in parts)
        short = interrupted(done, self.draws, "draws") or len(made) < count
        sites = some(sites, done, kept)
        stats = {k: torch.cat([part["stats"][k][:, :done] for part in parts]) for k in parts[0]["stats"]}
        lengths = {k: min(part["history"][k].shape[1] for part in parts) for k in parts[0]["history"]}
        history = {k: torch.cat([part["history"][k][:, :n] for part in parts]) for k, n in lengths.items()}
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
        )
        return Draws(sites, to_cpu(stats), to_cpu(history), attrs)

    def _cut_short(self, part: dict[str, Any] | str) -> bool:
        return isinstance(part, str) or part["draws"] < self.draws

    def _with_draws(self, parts: dict[range, dict[str, Any] | str | Ended]) -> dict[range, dict[str, Any]]:
        """The groups of chains that came to their draws; others were still in warm-up, or their process was killed."""
        made = {chains: part for chains, part in parts.items() if isinstance(part, dict)}
        lost = {chains: part for chains, part in parts.items() if isinstance(part, Ended)}
        remedy = "use fewer processes, or fewer chains"
        if not made:
            for chains, how in lost.items():
                raise RuntimeError(f"the process with chains {_listed(chains)} {how}, before there were draws: {remedy}")
            raise KeyboardInterrupt(next(part for part in parts.values() if isinstance(part, str)))
        left = sum(map(len, made))
        for chains, how in lost.items():
            warnings.warn(
                f"chains {_listed(chains)} of {self.chains} are lost, their process {how}; the draws of {left} chains are "
                f"returned: {remedy}",
                stacklevel=5,
            )
        waiting = self.chains - left - sum(map(len, lost))
        if waiting:
            warnings.warn(
                f"interrupted: {waiting} of {self.chains} chains were still in warm-up and are left out", stacklevel=5
            )
        return made

    def _pays(self, log_joint: LogJoint, chains: int) -> bool:
        """Whether ``compile=None`` means to compile."""
        gradients = (self.warmup + self.draws * self.thinning) * self.gradients
        return not self.row_chunk and pays(log_joint, chains, gradients)

    def _prepare(self, log_joint: LogJoint, chains: int) -> None:
        """Before forking, trace what processes then share; with ``compile=True`` also make one transition, thrown away.

        Where nobody asked for it, each process compiles when it comes to it, and the second finds the first's in the cache.
        """
        log_joint.build(chains)
        if not self.compile:
            return
        generator = torch.Generator(log_joint.device).manual_seed(0)
        replace(self, init=BestOf(steps=0)).walk(log_joint, chains, generator).move()

    def _sample(
        self, log_joint: LogJoint, store: Store, generator: torch.Generator, progress: bool, watch: Watch
    ) -> dict[str, Any]:
        """Warm up and sample in this process, into ``store``: how many draws, statistics, history and counts."""
        clock, before = Clock(log_joint.device), log_joint.evaluations
        walk = self.walk(log_joint, store.chains, generator)
        name = type(self).__name__
        bar: dict[str, Any] = {"progress": progress, "describe": walk.describe, "watch": watch}
        done = drive(walk.warm, self.warmup, label=f"{name} warm-up", **bar)
        if done < self.warmup:
            raise KeyboardInterrupt(f"interrupted in warm-up, after {done} of {self.warmup} transitions: no draws yet")
        walk.settle()
        tuning_gradients, tuning_time = log_joint.evaluations - before, clock.lap()
        walk.kept = store
        drive(walk.sample, self.draws * self.thinning, label=f"{name} draws", **bar)
        if not store.count:
            raise KeyboardInterrupt(f"interrupted before the first of {self.draws} draws: nothing to return")
        return {
            "draws": store.count,
            "stats": store.result(),
            "diverged": walk.diverged.cpu(),
            "compiled": log_joint.compiled,
            "history": walk.history(),
            "gradients": log_joint.evaluations - before,
            "tuning_gradients": tuning_gradients,
            "tuning_time": tuning_time,
            "sampling_time": clock.lap(),
        }

    def doubts(self, stats: dict[str, Tensor], diverged: Tensor) -> list[str]:
        """What the statistics of the draws give reason to doubt: ``fit`` says it aloud, together with what it finds itself.

        diverged: ``[chain]``, the transitions after warm-up that diverged, those that thinning leaves out included.
        """
        return []


def _listed(chains: range) -> str:
    return ", ".join(map(str, chains))


class Walk:
    """One run under way: the kernel's state, the tuning, and what is kept. Subclasses say how to warm up and to move."""

    def __init__(self, settings: FullBatch, log_joint: LogJoint, chains: int, generator: torch.Generator) -> None:
        self.settings, self.log_joint, self.generator = settings, log_joint, generator
        self.start = start_of(settings, log_joint, generator, chains)
        self.kept: Recorder | Store = Recorder(settings.draws)
        self.tuned = Recorder(max(settings.warmup, 1))
        self.diverged = torch.zeros(chains, dtype=torch.long, device=log_joint.device)
        self.lost = torch.zeros(chains, dtype=torch.bool, device=log_joint.device)

    def warm(self, i: int) -> None:
        """Warm-up transition i."""
        raise NotImplementedError

    def settle(self) -> None:
        """End of warm-up."""

    def move(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One transition: positions ``[chain, dim]`` and statistics ``[chain]`` of it."""
        raise NotImplementedError

    def sample(self, i: int) -> None:
        """Transition i after warm-up. A kept draw counts as diverging if any transition since the last one diverged."""
        position, stats = self.move()
        if "diverging" in stats:
            self.diverged = self.diverged + stats["diverging"]
            stats["diverging"] = self.lost = self.lost | stats["diverging"]
        if (i + 1) % self.settings.thinning == 0:
            self.kept.add(position, stats)
            self.lost = torch.zeros_like(self.lost)

    def describe(self) -> str:
        """What the progress bar says."""
        return ""

    def history(self) -> dict[str, Tensor]:
        """Statistics of the warm-up, ``{name: [chain, step]}``."""
        if not self.tuned.count:
            return {}
        return {f"warmup_{name}": value for name, value in self.tuned.result()[1].items()}
