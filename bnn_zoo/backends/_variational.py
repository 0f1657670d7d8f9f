"""What the variational backends share: restarts as chains, one Adam on the traced ELBO, draws from q at its end."""

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

from .._random import Use, generator, stream
from .._scope import factory, seeded
from ..density import Elbo, LogJoint, from_prior
from ..schedules import cosine
from ..types import Draws, Model, ModelError, Schedule
from ._chains import Start
from ._loop import Clock, Recorder, describe_run, drive, to_cpu
from ._rows import next_rows, rows_and_density
from ._settings import at_least, flags, need_memory, schedule_of, scheduled, scope_maker, start_of, start_rule
from ._steady import steady


@dataclass(frozen=True, kw_only=True)
class Variational:
    """Settings that the variational backends have in common.

    chains
        restarts: each is optimised from its own starting point, so R-hat between them tells of several optima, not mixing.
    steps, learning_rate
        Adam steps and their rate: a number or a schedule (by default a cosine from 0.02 down over all steps).
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
    particles: int = 1
    batch_size: int | None = None
    init: Start = from_prior
    compile: bool = False
    handler: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __post_init__(self) -> None:
        at_least(self, chains=1, steps=1, draws=1, particles=1, batch_size=1)
        flags(self, "compile")
        start_rule(self)
        scheduled(self, "learning_rate")
        scope_maker(self, "handler")

    def family(self, model: Model, init_loc_fn: Callable[[Any], Tensor]) -> Any:
        """The guide, not yet run."""
        raise NotImplementedError

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
        log_joint, batches = rows_and_density(model, data, batch_size=self.batch_size, chains=1, seed=seed, device=device)
        for site in log_joint.sites:
            if site.transform is None:
                raise ModelError(
                    f"site {site.name!r}: its support depends on another site, and independent factors cannot follow it; "
                    "write it as a share of its range (a site on (0, 1) times the bound), or use NUTS"
                )
        need_memory(self, log_joint, self.draws)
        with steady(log_joint, self.particles) as threads:
            return self._run(log_joint, batches, seed, threads, progress)

    def _run(self, log_joint: LogJoint, batches: Any, seed: int, threads: int, progress: bool) -> Draws:
        name = type(self).__name__
        clock = Clock(log_joint.device)
        starts = start_of(self, log_joint, generator(log_joint.device, seed, Use.MOVES))
        fits = []
        for chain in range(self.chains):
            with (
                pyro.get_param_store().scope(),
                seeded(stream(seed, Use.GUIDE, chain), log_joint.device),
                factory(log_joint.device, log_joint.dtype),
                pyro.validation_enabled(False),
            ):
                fit = Restart(self, log_joint, batches, log_joint.constrain(starts[chain]))
                label = f"{name} {chain + 1}/{self.chains}"
                done = drive(fit.step, self.steps, label=label, progress=progress, describe=fit.describe)
                if done == 0:
                    raise KeyboardInterrupt("interrupted before the first step: nothing to return")
                tuning = clock.lap()
                fit.draw()
                fit.seconds = (tuning, clock.lap())
            fits.append(fit)
            if done < self.steps:
                warnings.warn(
                    f"interrupted after {done} of {self.steps} steps: draws are from q as it was then", stacklevel=2
                )
                break
        return self._collect(fits, log_joint, seed, threads, short=done < self.steps or len(fits) < self.chains)

    def _collect(self, fits: list[Restart], log_joint: LogJoint, seed: int, threads: int, short: bool) -> Draws:
        sites = {s.name: torch.stack([f.values[s.name] for f in fits]) for s in log_joint.sites}
        stats = {"log_q": torch.stack([f.log_q for f in fits])}
        if self.batch_size is None:
            position = log_joint.unconstrain(sites)
            stats["lp"] = log_joint.value(position)
            stats["log_q"] = stats["log_q"] + log_joint.log_jacobian(position)
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
        return Draws(to_cpu(sites), to_cpu(stats), history, attrs)


class Restart:
    """One optimisation from one starting point, and the draws from its result."""

    def __init__(self, settings: Variational, log_joint: LogJoint, batches: Any, start: dict[str, Tensor]) -> None:
        self.settings, self.batches = settings, batches
        self.args, self.kwargs = log_joint.args, log_joint.kwargs
        self.names = [site.name for site in log_joint.sites]
        guide = settings.family(log_joint.model, init_to_value(values=start))
        self.elbo = Elbo(
            log_joint.model, guide, self.args, self.kwargs, settings.particles, settings.handler, settings.compile
        )
        self.flat = self.elbo.start.requires_grad_()
        self.rate = schedule_of(settings, "learning_rate")
        self.optimiser = torch.optim.Adam([self.flat], fused=True, maximize=True)
        self.elbos: list[float] = []
        self.entropies: list[float] = []
        self.seconds = (0.0, 0.0)
        self.values: dict[str, Tensor] = {}
        self.log_q = torch.zeros(0)

    def step(self, i: int) -> None:
        """One step of Adam on the ELBO, all parameters in one tensor."""
        rows = () if self.batches is None else tuple(t[0] for t in next_rows(self.batches))
        with torch.no_grad():
            elbo, entropy, gradient = self.elbo(self.flat.detach(), *rows)
        self.optimiser.param_groups[0]["lr"] = self.rate(i)
        self.flat.grad = gradient
        self.optimiser.step()
        self.elbos.append(float(elbo))
        self.entropies.append(float(entropy))

    def describe(self) -> str:
        return f"ELBO {sum(self.elbos[-100:]) / len(self.elbos[-100:]):.5g}"

    def draw(self) -> None:
        """``draws`` draws of the sites from q, and their log density (in the sites' own space)."""
        flat = self.flat.detach()
        if not bool(torch.isfinite(flat).all()):
            name = type(self.settings).__name__
            raise FloatingPointError(f"{name} diverged: parameters of q are not finite; use a smaller learning_rate")
        kept = Recorder(self.settings.draws)
        with torch.no_grad(), self.elbo.parameters(flat):
            for _ in range(self.settings.draws):
                trace = poutine.trace(self.elbo.guide).get_trace(*self.args, **self.kwargs)
                values = {n: trace.nodes[n]["value"] for n in self.names}
                kept.add(torch.zeros(1), {**values, "log_q": trace.log_prob_sum()})
        stats = {k: v.detach() for k, v in kept.stats.items()}
        self.log_q = stats.pop("log_q")
        self.values = stats
