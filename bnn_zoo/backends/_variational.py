"""What the variational backends share: restarts as chains, one optimiser on the traced ELBO, draws from q at its end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer.autoguide.initialization import init_to_value
from torch import Tensor

from .._interrupt import gently
from .._random import Use, generator, stream
from .._scope import alone, factory, seeded
from ..density import BestOf, Elbo, LogJoint, finite_at
from ..kernels import Optimise, check_coordinatewise
from ..run import Checkpoint, Clock, Keeper, Part, Run
from ..run.stored import joined
from ..schedules import cosine
from ..types import Draws, Model, ModelError, Schedule
from ._ascent import Ascent, GlobalStream, SiteSink
from ._chains import Start
from ._compiling import saves
from ._draws import InMemory, Place, blocks, place
from ._kept import finished, keeping, kept, recorded
from ._loop import describe_run, to_cpu
from ._rows import rows_and_density, rows_at
from ._settings import at_least, flags, optimiser, schedule_of, scheduled, scope_maker, start_of, start_rule
from ._steady import steady, threads_for


def adam(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """``torch.optim.Adam`` with one pass over all numbers. Kingma & Ba 2015."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


@dataclass(frozen=True, kw_only=True)
class Variational:
    """Settings that the variational backends have in common.

    chains
        restarts: each is optimised from its own starting point, so R-hat between them tells of several optima, not mixing.
    steps, learning_rate
        steps of the optimiser and their rate: a number or a schedule (by default a cosine from 0.02 down over all steps).
    optimiser
        by default Adam; any of ``torch.optim`` that works coordinate by coordinate, ``functools.partial`` for its settings.
        It sees the gradient of the ELBO, a sum over all rows: for SGD take a learning rate of the order of 1e-2/N.
    particles
        draws of q per step for the expected log likelihood.
    batch_size
        rows in a minibatch; None uses all rows. Needed for a torch Dataset.
    draws
        draws of q from each restart.
    compile
        pass the traced ELBO to ``torch.compile``: half a minute first, then cheaper steps. None: where that pays in a run of
        this length, as far as the operations of the traced graph tell; ``attrs["compiled"]`` says what was done.
    handler
        entered around guide and model at every step: ``handlers.LocalReparameterization`` or ``handlers.Flipout`` give
        each row its own noise, for gradients of less variance.
    """

    chains: int = 1
    steps: int = 5_000
    draws: int = 1_000
    learning_rate: float | Schedule = cosine(0.02)
    optimiser: Callable[..., Any] = adam
    particles: int = 1
    batch_size: int | None = None
    init: Start = BestOf()
    compile: bool | None = None
    handler: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __post_init__(self) -> None:
        at_least(self, chains=1, steps=1, draws=1, particles=1, batch_size=1)
        flags(self, "compile", none=True)
        start_rule(self)
        scheduled(self, "learning_rate")
        optimiser(self, "optimiser")
        scope_maker(self, "handler")

    def family(self, model: Model, init_loc_fn: Callable[[Any], Tensor]) -> Any:
        """The guide, not yet run."""
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
        checkpoint: Checkpoint | None = None,
    ) -> Draws:
        """Fit q to ``model`` and draw from it. Pyro's parameter store and torch's random state are put back after.

        With ``checkpoint`` in a folder where it goes on after whatever has ended it.
        """
        check_coordinatewise(self.optimiser, type(self).__name__, "all parameters are one vector")
        log_joint, batches = rows_and_density(model, data, batch_size=self.batch_size, chains=1, seed=seed, device=device)
        if log_joint.discrete:
            raise ModelError(
                f"sites {log_joint.discrete} are discrete: {type(self).__name__} has no family for them; use NUTS, which "
                "sums them out"
            )
        for site in log_joint.sites:
            if site.transform is None:
                raise ModelError(
                    f"site {site.name!r}: its support depends on another site, and independent factors cannot follow it; "
                    "write it as a share of its range (a site on (0, 1) times the bound), or use NUTS"
                )
        own: dict[str, Any] = {"threads": threads_for(log_joint, self.particles)}
        with keeping(checkpoint, self, log_joint, data, seed, self.draws, **own) as keeper:
            if keeper and (found := finished(keeper)):
                return found
            with steady(log_joint, self.particles, recorded(keeper, "threads")) as threads:
                draws = self._run(log_joint, batches, seed, threads, progress, keeper)
            return kept(keeper, draws)

    def _run(
        self, log_joint: LogJoint, batches: Any, seed: int, threads: int, progress: bool, keeper: Keeper | None
    ) -> Draws:
        where = place(keeper, self, log_joint, self.draws)
        clock = Clock(log_joint.device)
        starts = start_of(self, log_joint, generator(log_joint.device, seed, Use.STARTS))
        finite_at(starts, self.init, log_joint)
        before = clock.lap()
        fits: list[Run] = []
        own: InMemory | None = None
        for chain in range(self.chains):
            try:
                with (
                    pyro.get_param_store().scope(),
                    seeded(stream(seed, Use.GUIDE, chain), log_joint.device),
                    factory(log_joint.device, log_joint.dtype),
                    pyro.validation_enabled(False),
                ):
                    start = log_joint.constrain(starts[chain])
                    fit = self._begun(log_joint, batches, start, where, chain, fits[-1].target if fits else None)
                    part = keeper.part(chain, range(chain, chain + 1)) if keeper else None
                    if part:
                        part.resume(fit)
                    label = f"{type(self).__name__} {chain + 1}/{self.chains}"
                    own = self._finished(fit, log_joint, progress, part, label)
            except KeyboardInterrupt:
                if not fits:
                    raise
                warnings.warn(f"interrupted: {len(fits)} of {self.chains} restarts are returned", stacklevel=4)
                break
            fits.append(fit)
            if self._short(fit):
                warnings.warn(
                    f"interrupted after {self._steps(fit)} of {self.steps} steps: {fit.sink.count} draws are from q as it "
                    "was then",
                    stacklevel=4,
                )
                break
        short = len(fits) < self.chains or self._short(fits[-1])
        count = min(fit.sink.count for fit in fits)
        there = where.taken(count, range(len(fits) - bool(own))) if len(fits) > bool(own) else {}
        sites = {n: joined([*([there[n]] if there else []), v]) for n, v in own.taken(count).items()} if own else there
        return self._collect(fits, sites, log_joint, seed, threads, short, before)

    def _begun(
        self, log_joint: LogJoint, batches: Any, start: dict[str, Tensor], where: Place, chain: int, like: Elbo | None
    ) -> Run:
        """The fit from ``start``, its first step about to be made; its draws are those of ``chain``.

        Restarts see one stretch of batches after another, so that their noise is independent.
        """
        first = chain * self.steps
        guide = self.family(log_joint.model, init_to_value(values=start))
        worth = partial(saves, calls=self.steps * self.chains, device=log_joint.device)
        compile = worth if self.compile is None else self.compile
        elbo = Elbo(log_joint.model, guide, log_joint.args, log_joint.kwargs, self.particles, self.handler, compile, like)
        rate, names = schedule_of(self, "learning_rate"), [site.name for site in log_joint.sites]
        program = Ascent(type(self).__name__, Optimise(self.optimiser), self.steps, self.draws, rate, names)
        run = Run(
            program,
            elbo,
            GlobalStream(log_joint.device),
            SiteSink(partial(where.put, chain), where.block, elbo.start.new_zeros(self.draws)),
            log_joint.device,
            rows=lambda step: rows_at(batches, first + step) if step < self.steps else (),
        )
        run.begin(elbo.start.unsqueeze(0))
        return run

    def _finished(self, fit: Run, log_joint: LogJoint, progress: bool, part: Part | None, label: str) -> InMemory | None:
        """All steps and draws; after Ctrl-C in the steps the draws from q as it is then, which are not kept: if the run is,
        they are in what is returned."""
        own = None
        fit.go(label=label, progress=progress, keep=part)
        if fit.step == 0:
            raise KeyboardInterrupt("interrupted before the first step: nothing to return")
        if fit.step < self.steps:
            fit.step = self.steps
            if part:
                own = InMemory(1, log_joint, self.draws)
                fit.sink.put, fit.sink.block = partial(own.put, 0), own.block
            fit.go(label=label, progress=progress)
        if not fit.sink.count:
            raise KeyboardInterrupt("interrupted before the first draw: nothing to return")
        fit.sink.write()
        return own

    def _steps(self, fit: Run) -> int:
        return fit.history.count if fit.history else 0

    def _short(self, fit: Run) -> bool:
        """Whether Ctrl-C has ended the steps or the draws early."""
        return self._steps(fit) < self.steps or fit.sink.count < self.draws

    def _densities(self, log_joint: LogJoint, sites: dict[str, Tensor], log_q: Tensor) -> dict[str, Tensor]:
        """Log joint and log q ``[chain, draw]`` of the draws on the unconstrained line, in blocks of draws."""
        stats = {"log_q": log_q, "lp": torch.empty_like(log_q)}
        for chain in range(len(log_q)):
            for block in blocks(log_joint, log_q.shape[1]):
                span = slice(block.start, block.stop)
                position = log_joint.unconstrain({name: values[chain, span] for name, values in sites.items()})
                stats["lp"][chain, span] = log_joint.value(position)
                stats["log_q"][chain, span] += log_joint.log_jacobian(position)
        return stats

    def _collect(
        self,
        fits: list[Run],
        sites: dict[str, Tensor],
        log_joint: LogJoint,
        seed: int,
        threads: int,
        short: bool,
        before: float,
    ) -> Draws:
        count = next(iter(sites.values())).shape[1]
        stats = {"log_q": torch.stack([f.sink.log_q[:count] for f in fits])}
        if self.batch_size is None and not log_joint.subsampled:
            stats = self._densities(log_joint, sites, stats["log_q"])
        length = min(map(self._steps, fits))
        traced = [f.traced() for f in fits]
        elbo, entropy = (torch.cat([t[name][:, :length] for t in traced]).cpu() for name in ("elbo", "entropy"))
        steps = sum(map(self._steps, fits))
        attrs = describe_run(
            self,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            inference_method="SVI",
            gradients=steps * self.particles,
            batch_size=self.batch_size or "all",
            traced=all(f.target.traced for f in fits),
            compiled=all(f.target.compiled for f in fits),
            tuning_steps=self.steps,
            tuning_time=before + sum(f.seconds["steps"] for f in fits),
            sampling_time=sum(f.seconds["draws"] for f in fits),
            threads=threads,
            interrupted=short,
        )
        history = {"elbo": elbo, "energy": entropy - elbo, "entropy": entropy}
        return Draws(sites, to_cpu(stats), history, attrs)
