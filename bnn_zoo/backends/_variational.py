"""What the variational backends share: restarts as chains, one optimiser on the traced ELBO, draws from q at its end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide.initialization import init_to_value
from torch import Tensor

from .._interrupt import gently
from .._random import Use, generator, stream
from .._scope import alone, factory, seeded
from ..density import BestOf, Elbo, LogJoint, finite_at
from ..kernels import check_coordinatewise
from ..schedules import cosine
from ..types import Draws, Model, ModelError, Schedule
from ._chains import Start
from ._draws import blocks, room, some
from ._loop import Clock, describe_run, drive, to_cpu
from ._rows import next_rows, rows_and_density
from ._settings import at_least, flags, optimiser, schedule_of, scheduled, scope_maker, start_of, start_rule
from ._steady import steady


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
        pass the traced ELBO to ``torch.compile``: half a minute first, then cheaper steps.
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
    compile: bool = False
    handler: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __post_init__(self) -> None:
        at_least(self, chains=1, steps=1, draws=1, particles=1, batch_size=1)
        flags(self, "compile")
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
    ) -> Draws:
        """Fit q to ``model`` and draw from it. Pyro's parameter store and torch's random state are put back after."""
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
        with steady(log_joint, self.particles) as threads:
            return self._run(log_joint, batches, seed, threads, progress)

    def _run(self, log_joint: LogJoint, batches: Any, seed: int, threads: int, progress: bool) -> Draws:
        name = type(self).__name__
        sites = room(self, log_joint, self.draws)
        clock = Clock(log_joint.device)
        starts = start_of(self, log_joint, generator(log_joint.device, seed, Use.MOVES))
        finite_at(starts, self.init, log_joint)
        fits: list[Restart] = []
        for chain in range(self.chains):
            label = f"{name} {chain + 1}/{self.chains}"
            try:
                with (
                    pyro.get_param_store().scope(),
                    seeded(stream(seed, Use.GUIDE, chain), log_joint.device),
                    factory(log_joint.device, log_joint.dtype),
                    pyro.validation_enabled(False),
                ):
                    fit = Restart(self, log_joint, batches, log_joint.constrain(starts[chain]), fits[-1] if fits else None)
                    drive(fit.step, self.steps, label=label, progress=progress, describe=fit.describe)
                    if not fit.elbos:
                        raise KeyboardInterrupt("interrupted before the first step: nothing to return")
                    tuning = clock.lap()
                    fit.draw({name: values[chain] for name, values in sites.items()})
                    fit.seconds = (tuning, clock.lap())
            except KeyboardInterrupt:
                if not fits:
                    raise
                warnings.warn(f"interrupted: {len(fits)} of {self.chains} restarts are returned", stacklevel=4)
                break
            fits.append(fit)
            if fit.short:
                warnings.warn(
                    f"interrupted after {len(fit.elbos)} of {self.steps} steps: {fit.drawn} draws are from q as it was then",
                    stacklevel=4,
                )
                break
        short = len(fits) < self.chains or fits[-1].short
        sites = some(sites, min(fit.drawn for fit in fits), range(len(fits)))
        return self._collect(fits, sites, log_joint, seed, threads, short)

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
        self, fits: list[Restart], sites: dict[str, Tensor], log_joint: LogJoint, seed: int, threads: int, short: bool
    ) -> Draws:
        count = next(iter(sites.values())).shape[1]
        stats = {"log_q": torch.stack([f.log_q[:count] for f in fits])}
        if self.batch_size is None and not log_joint.subsampled:
            stats = self._densities(log_joint, sites, stats["log_q"])
        length = min(len(f.elbos) for f in fits)
        elbo = torch.tensor([f.elbos[:length] for f in fits])
        entropy = torch.tensor([f.entropies[:length] for f in fits])
        steps = sum(len(f.elbos) for f in fits)
        attrs = describe_run(
            self,
            seed=seed,
            device=log_joint.device,
            dtype=log_joint.dtype,
            inference_method="SVI",
            gradients=steps * self.particles,
            batch_size=self.batch_size or "all",
            traced=all(f.elbo.traced for f in fits),
            tuning_steps=self.steps,
            tuning_time=sum(f.seconds[0] for f in fits),
            sampling_time=sum(f.seconds[1] for f in fits),
            threads=threads,
            interrupted=short,
        )
        history = {"elbo": elbo, "energy": entropy - elbo, "entropy": entropy}
        return Draws(sites, to_cpu(stats), history, attrs)


class Restart:
    """One optimisation from one starting point, and the draws from its result."""

    def __init__(
        self,
        settings: Variational,
        log_joint: LogJoint,
        batches: Any,
        start: dict[str, Tensor],
        before: Restart | None = None,
    ) -> None:
        self.settings, self.batches = settings, batches
        self.args, self.kwargs = log_joint.args, log_joint.kwargs
        self.names = [site.name for site in log_joint.sites]
        guide = settings.family(log_joint.model, init_to_value(values=start))
        self.elbo: Elbo = Elbo(
            log_joint.model,
            guide,
            self.args,
            self.kwargs,
            settings.particles,
            settings.handler,
            settings.compile,
            before.elbo if before else None,
        )
        self.flat = self.elbo.start.requires_grad_()
        self.rate = schedule_of(settings, "learning_rate")
        self.optimiser = settings.optimiser([self.flat], lr=1.0)
        self.elbos: list[float] = []
        self.entropies: list[float] = []
        self.seconds = (0.0, 0.0)
        self.log_q = self.flat.new_zeros(settings.draws)
        self.drawn = 0

    @property
    def short(self) -> bool:
        """Whether Ctrl-C has ended the steps or the draws early."""
        return len(self.elbos) < self.settings.steps or self.drawn < self.settings.draws

    def step(self, i: int) -> None:
        """One step up the ELBO, all parameters in one tensor."""
        rows = () if self.batches is None else tuple(t[0] for t in next_rows(self.batches))
        with torch.no_grad():
            elbo, entropy, gradient = self.elbo(self.flat.detach(), *rows)
        self.optimiser.param_groups[0]["lr"] = self.rate(i)
        self.flat.grad = gradient.neg()
        self.optimiser.step()
        self.elbos.append(float(elbo))
        self.entropies.append(float(entropy))

    def describe(self) -> str:
        return f"ELBO {sum(self.elbos[-100:]) / len(self.elbos[-100:]):.5g}"

    def draw(self, sites: dict[str, Tensor]) -> None:
        """Draws of the sites from q into ``sites``, ``{name: [draw, *shape]}``, and their log density (in the sites' own
        space). Ctrl-C leaves ``drawn`` of them."""
        flat = self.flat.detach()
        if not bool(torch.isfinite(flat).all()):
            name = type(self.settings).__name__
            raise FloatingPointError(f"{name} diverged: parameters of q are not finite; use a smaller learning_rate")

        def one(i: int) -> None:
            trace = poutine.trace(self.elbo.guide).get_trace(*self.args, **self.kwargs)
            for name in self.names:
                sites[name][i] = trace.nodes[name]["value"].detach()
            self.log_q[i] = trace.log_prob_sum().detach()
            self.drawn = i + 1

        with torch.no_grad(), self.elbo.parameters(flat):
            drive(one, self.settings.draws, label="draws", progress=False)
        if not self.drawn:
            raise KeyboardInterrupt("interrupted before the first draw: nothing to return")
