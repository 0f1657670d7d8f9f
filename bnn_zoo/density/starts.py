"""Where chains start: positions ``[chain, dim]`` with a finite log joint and gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from .._interrupt import safe_point
from .._scope import factory, seeded
from ..types import ModelError
from .log_joint import LogJoint
from .messengers import Hold
from .sites import Fill, draw_or_support, is_latent, moderate_draw, uniform_on_support

TRIES = 100
FAR, PLACES = 10.0, 8
"""Nats below the highest point reached at which a chain may start, and the places looked at on the way there."""


def from_prior(log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
    """One draw from the prior per chain; sites that cannot be sampled (``ImproperUniform``) as in ``from_support``."""
    return _start(log_joint, chains, generator, (draw_or_support,))


def from_support(log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
    """Uniform(−2, 2) on the unconstrained line, as Stan starts."""
    return _start(log_joint, chains, generator, (uniform_on_support,))


@dataclass(frozen=True, repr=False)
class Adam:
    """An ensemble of optima, one a chain: ``steps`` of Adam on the log joint from where ``init`` starts.

    Chains then begin in the typical set's neighbourhood instead of the prior's, which spares most of the warm-up of a
    network. The step falls from ``learning_rate`` to zero by a cosine. A posterior whose density is unbounded (a
    hierarchical scale that runs to zero) has no optimum: use few steps there, or ``BestOf()``. Kingma & Ba 2015.
    """

    steps: int = 1000
    learning_rate: float = 0.02
    init: Callable[[LogJoint, int, torch.Generator], Tensor] = from_prior

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"Adam needs steps >= 1 and a learning rate > 0, got {self.steps} and {self.learning_rate}")

    def __repr__(self) -> str:
        init = getattr(self.init, "__name__", repr(self.init))
        return f"Adam(steps={self.steps}, learning_rate={self.learning_rate}, init={init})"

    def __call__(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
        return _ascend(log_joint, self.init(log_joint, chains, generator), self.steps, self.learning_rate)


@dataclass(frozen=True)
class BestOf:
    """The default: of ``tries`` points a chain, the one of the largest log joint, then at most ``steps`` of Adam from it.

    Every second try is uniform on the support as in ``from_support``. The others are draws from the prior in which scales,
    and whatever else is not on the whole real line, stay within ±2 on the unconstrained line, and what depends on them is
    drawn given that: a plain draw of a vague hierarchical prior is a hopeless place to start from, a point of the support
    is one for a wide network with small weights. Each chain has tries of its own, Adam stops where ten steps gain a chain
    less than one nat, and what a chain climbed at the last, a nat a dimension and 10 at most, it goes back: so chains
    do not meet at an optimum, but start as far apart as the posterior is wide or farther. On minibatches, which are too few
    rows to climb on, no step is made. What else was tried, and the evidence: docs/samplers.md.
    """

    tries: int = 10
    steps: int = 50
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        if self.tries < 1 or self.steps < 0 or not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"BestOf needs tries >= 1, steps >= 0 and a learning rate > 0, got {self}")

    def __call__(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
        position = _start(log_joint, chains, generator, (moderate_draw, uniform_on_support), self.tries)
        if log_joint.rows_per_chain or not self.steps:
            return position
        top = _ascend(log_joint, position, self.steps, self.learning_rate, enough=1.0)
        return _back(log_joint, position, top, min(float(log_joint.dim), FAR))


@dataclass(frozen=True, repr=False)
class FromNet:
    """The weights of a network: of a trained one, the same for all chains, or fresh ones from ``make()`` for each chain.

    ``FromNet(trained)`` warm-starts; ``FromNet(nets.LeNet5)`` gives each chain torch's default initialisation, as deep
    ensembles have it. Sites that are no parameter of the net (an unknown noise) are chosen as ``BestOf`` does. Raises
    ModelError where no site has a parameter's name, shapes differ, or a parameter is not finite.
    """

    net: nn.Module | Callable[[], nn.Module]

    def __post_init__(self) -> None:
        if not callable(self.net):
            raise TypeError(f"FromNet needs a network or a function that makes one, such as nets.LeNet5; got {self.net!r}")

    def __repr__(self) -> str:
        return f"FromNet({getattr(self.net, '__name__', type(self.net).__name__)})"

    def __call__(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with seeded(seed, log_joint.device):
            nets = [self.net if isinstance(self.net, nn.Module) else self.net() for _ in range(chains)]
        weights = [dict(net.named_parameters()) for net in nets]
        shapes = {site.name: tuple(site.shape) for site in log_joint.sites}
        named = [name for name in shapes if name in weights[0]]
        if not named:
            raise ModelError(f"FromNet: no site has the name of a parameter: sites {list(shapes)}, net {list(weights[0])}")
        for name in named:
            if tuple(weights[0][name].shape) != shapes[name]:
                there = tuple(weights[0][name].shape)
                raise ModelError(f"FromNet: site {name!r} has shape {shapes[name]}, the net's parameter {there}")
            bad = sum(int((~w[name].isfinite()).sum()) for w in weights)
            if bad:
                raise ModelError(
                    f"FromNet: {bad} of {sum(w[name].numel() for w in weights)} values of parameter {name!r} are NaN or "
                    "infinite, so the net's training has diverged: train it again with a smaller learning rate, or leave "
                    "out init"
                )
        held = {n: torch.stack([w[n].detach() for w in weights]).to(log_joint.device, log_joint.dtype) for n in named}
        tries = 1 if len(named) == len(shapes) else BestOf.tries
        return _start(log_joint, chains, generator, (moderate_draw, uniform_on_support), tries, held)


def need_positions(position: Tensor, init: Callable[..., Tensor], log_joint: LogJoint) -> None:
    """Raise ModelError, naming the sites, unless the starts ``[chain, dim]`` are finite."""
    bad = ~torch.isfinite(position)
    if bool(bad.any()):
        parts = bad.any(0).split([site.size for site in log_joint.sites])
        sites = [site.name for site, part in zip(log_joint.sites, parts, strict=True) if bool(part.any())]
        raise ModelError(
            f"init {_named(init)} gave {int(bad.any(1).sum())} of {len(position)} chains a start that is NaN or infinite, "
            f"at sites {sites[:5]} (values there must lie inside the site's support): leave out init, or give a finite start"
        )


def finite_at(position: Tensor, init: Callable[..., Tensor], log_joint: LogJoint) -> None:
    """``need_finite`` of the log joint at these starts ``[chain, dim]``; not counted among the run's evaluations."""
    before = log_joint.evaluations
    need_finite(init, *log_joint(position, *_rows(log_joint, len(position))))
    log_joint.evaluations = before


def need_finite(init: Callable[..., Tensor], value: Tensor, gradient: Tensor) -> None:
    """Raise ModelError unless the log joint ``[chain]`` and its gradient ``[chain, dim]`` are finite at the start."""
    bad = ~(torch.isfinite(value) & torch.isfinite(gradient).all(-1))
    if bool(bad.any()):
        raise ModelError(
            f"init {_named(init)} gave {int(bad.sum())} of {len(value)} chains a start where the log joint or its gradient "
            f"is not finite (log joints there: {value[bad][:3].tolist()}): leave out init, or start inside the support"
        )


def _named(init: Any) -> str:
    return getattr(init, "__name__", repr(init))


def _ascend(log_joint: LogJoint, start: Tensor, steps: int, learning_rate: float, enough: float = 0.0) -> Tensor:
    """The best point of each chain on ``steps`` of Adam, cosine schedule; it ends where ten of them gain all < enough."""
    position, rows = start.clone().requires_grad_(), _rows(log_joint, len(start))
    best, at = torch.full_like(position[:, 0], -torch.inf), position.detach().clone()
    adam = torch.optim.Adam([position], learning_rate, maximize=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    before = best
    for i in range(steps):
        safe_point()
        here = position.detach()
        value, gradient = log_joint(here, *rows)
        better = (value > best) & torch.isfinite(value) & torch.isfinite(gradient).all(1)
        best, at = torch.where(better, value, best), torch.where(better.unsqueeze(-1), here, at)
        if enough and i % 10 == 0:
            if bool((best - before < enough).all()):
                break
            before = best
        position.grad = gradient.nan_to_num()
        adam.step()
        decay.step()
    return at


def _back(log_joint: LogJoint, start: Tensor, top: Tensor, nats: float) -> Tensor:
    """For each chain the first of ``PLACES`` on the straight way from start to top that lies at most so far below the top.

    The log joint of draws of a normal law in d dimensions lies d/2 below its maximum on average, so d is far out.
    """
    rows, position = _rows(log_joint, len(start)), top
    enough = log_joint(top, *rows)[0] - nats
    open_ = torch.ones_like(enough, dtype=torch.bool)
    for i in range(PLACES):
        safe_point()
        here = torch.lerp(start, top, i / PLACES)
        value, gradient = log_joint(here, *rows)
        found = open_ & (value >= enough) & torch.isfinite(value) & torch.isfinite(gradient).all(1)
        position, open_ = torch.where(found.unsqueeze(-1), here, position), open_ & ~found
        if not bool(open_.any()):
            break
    return position


Choose = Callable[[Any], Tensor]


def _start(
    log_joint: LogJoint,
    chains: int,
    generator: torch.Generator,
    ways: tuple[Choose, ...],
    tries: int = 1,
    held: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Of ``tries`` points of each chain, chosen in these ways by turns, the one of the largest log joint; more tries where
    log joint or gradient is nowhere finite. ``held`` are values of sites ``[chain, *shape]`` that are not chosen."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    rows = _rows(log_joint, chains)
    with seeded(seed, log_joint.device):
        position = _points(log_joint, chains, ways[0], held)
        best = position.new_full((chains,), -torch.inf)
        for i in range(max(tries, TRIES)):
            safe_point()
            here = position.clone() if i == 0 else _points(log_joint, chains, ways[i % len(ways)], held)
            value, gradient = log_joint(here, *rows)
            finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
            better = finite & (value > best) if i < tries else finite & ~torch.isfinite(best)
            best, position = torch.where(better, value, best), torch.where(better.unsqueeze(-1), here, position)
            if i + 1 >= tries and bool(torch.isfinite(best).all()):
                return position
    bad = ~torch.isfinite(best)
    raise ModelError(
        f"no starting point: {int(bad.sum())} of {chains} chains found no point with a finite log joint and gradient in "
        f"{TRIES} tries (last log joints: {value[bad][:3].tolist()}); check the priors and the scale of the data"
    )


def _rows(log_joint: LogJoint, chains: int) -> tuple[Tensor, ...]:
    if not log_joint.rows_per_chain:
        return ()
    return tuple(a.expand(chains, *a.shape) for a in log_joint.args if isinstance(a, Tensor))


def _points(log_joint: LogJoint, chains: int, choose: Choose, held: Mapping[str, Tensor] | None) -> Tensor:
    """One point for each chain, ``[chain, dim]``."""
    if held is None:
        return torch.stack([_point(log_joint, choose, {}) for _ in range(chains)])
    return torch.stack([_point(log_joint, choose, {n: v[c] for n, v in held.items()}) for c in range(chains)])


def _point(log_joint: LogJoint, choose: Choose, held: Mapping[str, Tensor]) -> Tensor:
    with factory(log_joint.device, log_joint.dtype), pyro.validation_enabled(False), torch.no_grad():
        for _ in range(TRIES):
            try:
                with Fill(choose), Hold(held):
                    trace = poutine.trace(log_joint.model).get_trace(*log_joint.args, **log_joint.kwargs)
                break
            except torch.linalg.LinAlgError as error:  # an unlucky draw: a matrix that is not positive definite there
                unlucky = error
        else:
            raise ModelError(f"no starting point in {TRIES} tries: {unlucky}")
    values = {name: msg["value"] for name, msg in trace.nodes.items() if is_latent(msg)}
    return log_joint.unconstrain({site.name: values[site.name] for site in log_joint.sites})
