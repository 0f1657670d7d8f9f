"""Where chains start: positions ``[chain, dim]`` with a finite log joint and gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

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
