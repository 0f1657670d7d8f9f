"""Where chains start: positions ``[chain, dim]`` with a finite log joint and gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from .._scope import factory, seeded
from ..types import ModelError
from .log_joint import LogJoint
from .sites import Fill, draw_or_support, is_latent, uniform_on_support

TRIES = 100


def from_prior(log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
    """One draw from the prior per chain; sites that cannot be sampled (``ImproperUniform``) as in ``from_support``."""
    return _start(log_joint, chains, generator, draw_or_support)


def from_support(log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
    """Uniform(−2, 2) on the unconstrained line, as Stan starts."""
    return _start(log_joint, chains, generator, uniform_on_support)


@dataclass(frozen=True, repr=False)
class Adam:
    """An ensemble of optima, one a chain: ``steps`` of Adam on the log joint from where ``init`` starts.

    Chains then begin in the typical set's neighbourhood instead of the prior's, which spares most of the warm-up of a
    network. The step falls from ``learning_rate`` to zero by a cosine. A posterior whose density is unbounded (a
    hierarchical scale that runs to zero) has no optimum: use few steps there, or ``from_prior``. Kingma & Ba 2015.
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
        position = self.init(log_joint, chains, generator).clone().requires_grad_()
        rows = _rows(log_joint, chains)
        best, at = torch.full_like(position[:, 0], -torch.inf), position.detach().clone()
        adam = torch.optim.Adam([position], self.learning_rate, maximize=True)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.steps)
        for _ in range(self.steps):
            here = position.detach()
            value, gradient = log_joint(here, *rows)
            better = value > best
            best, at = torch.where(better, value, best), torch.where(better.unsqueeze(-1), here, at)
            position.grad = gradient.nan_to_num()
            adam.step()
            decay.step()
        return at


@dataclass(frozen=True, repr=False)
class FromNet:
    """The weights of a network: of a trained one, the same for all chains, or fresh ones from ``make()`` for each chain.

    ``FromNet(trained)`` warm-starts; ``FromNet(nets.LeNet5)`` gives each chain torch's default initialisation, as deep
    ensembles have it. Sites that are no parameter of the net (an unknown noise) are drawn from their prior. Raises
    ModelError where no site has a parameter's name, or shapes differ.
    """

    net: nn.Module | Callable[[], nn.Module]

    def __post_init__(self) -> None:
        if not callable(self.net):
            raise TypeError(f"FromNet needs a network or a function that makes one, such as nets.LeNet5; got {self.net!r}")

    def __repr__(self) -> str:
        return f"FromNet({getattr(self.net, '__name__', type(self.net).__name__)})"

    def __call__(self, log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
        sites = log_joint.constrain(_anywhere(log_joint, chains, generator))
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with seeded(seed, log_joint.device):
            nets = [self.net if isinstance(self.net, nn.Module) else self.net() for _ in range(chains)]
        weights = [dict(net.named_parameters()) for net in nets]
        named = sites.keys() & weights[0].keys()
        if not named:
            raise ModelError(f"FromNet: no site has the name of a parameter: sites {list(sites)}, net {list(weights[0])}")
        for name in named:
            if weights[0][name].shape != sites[name].shape[1:]:
                here, there = tuple(sites[name].shape[1:]), tuple(weights[0][name].shape)
                raise ModelError(f"FromNet: site {name!r} has shape {here}, the net's parameter {there}")
            sites[name] = torch.stack([w[name].detach().to(sites[name]) for w in weights])
        return log_joint.unconstrain(sites)


def _anywhere(log_joint: LogJoint, chains: int, generator: torch.Generator) -> Tensor:
    """One point per chain whose log joint need not be finite: what is to be overwritten."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with seeded(seed, log_joint.device):
        return torch.stack([_point(log_joint, draw_or_support) for _ in range(chains)])


def _start(log_joint: LogJoint, chains: int, generator: torch.Generator, choose: Callable[[Any], Tensor]) -> Tensor:
    """Draw points until each chain has one where the log joint and its gradient are finite."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with seeded(seed, log_joint.device):
        position = torch.stack([_point(log_joint, choose) for _ in range(chains)])
        for _ in range(TRIES):
            value, gradient = log_joint(position, *_rows(log_joint, chains))
            bad = ~(torch.isfinite(value) & torch.isfinite(gradient).all(1))
            if not bool(bad.any()):
                return position
            for chain in bad.nonzero().flatten().tolist():
                position[chain] = _point(log_joint, choose)
    raise ModelError(
        f"no starting point: {int(bad.sum())} of {chains} chains found no point with a finite log joint and gradient in "
        f"{TRIES} tries (last log joints: {value[bad][:3].tolist()}); check the priors and the scale of the data"
    )


def _rows(log_joint: LogJoint, chains: int) -> tuple[Tensor, ...]:
    if not log_joint.rows_per_chain:
        return ()
    return tuple(a.expand(chains, *a.shape) for a in log_joint.args if isinstance(a, Tensor))


def _point(log_joint: LogJoint, choose: Callable[[Any], Tensor]) -> Tensor:
    with factory(log_joint.device, log_joint.dtype), pyro.validation_enabled(False), Fill(choose), torch.no_grad():
        for _ in range(TRIES):
            try:
                trace = poutine.trace(log_joint.model).get_trace(*log_joint.args, **log_joint.kwargs)
                break
            except torch.linalg.LinAlgError as error:  # an unlucky draw: a matrix that is not positive definite there
                unlucky = error
        else:
            raise ModelError(f"no starting point in {TRIES} tries: {unlucky}")
    values = {name: msg["value"] for name, msg in trace.nodes.items() if is_latent(msg)}
    return log_joint.unconstrain({site.name: values[site.name] for site in log_joint.sites})
