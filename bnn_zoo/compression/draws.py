"""Mean and spread of each weight of a network under a posterior, whatever backend made its draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..bnn import BNN
from ..handlers import Fixed
from ..predict import deterministics
from ..types import Handled, ModelError

NUMBERS = 2**24
"""Numbers that are read at a time."""


@dataclass(frozen=True)
class Moments:
    """``mean`` and ``sd`` of each random parameter, ``{name: tensor}`` in the parameter's shape, over ``draws`` draws.

    One draw has no sd: it is NaN then.
    """

    mean: dict[str, Tensor]
    sd: dict[str, Tensor]
    draws: int

    def signal_to_noise(self) -> dict[str, Tensor]:
        """``|mean|/sd`` of each weight. Graves 2011; Blundell et al. 2015, section 5.1."""
        return {name: self.mean[name].abs() / self.sd[name].clamp(min=1e-30) for name in self.mean}


def network(model: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """The net of a BNN, under handlers of this library or not, and the values that ``handlers.Fixed`` holds.

    Raises ModelError for other models: what their sites do is not known.
    """
    held: dict[str, Tensor] = {}
    while isinstance(model, Handled):
        held |= dict(model.values) if isinstance(model, Fixed) else {}
        model = model.model
    if not isinstance(model, BNN):
        raise ModelError(
            f"compress needs the posterior of a bz.BNN, whose weights belong to layers; got that of {type(model).__name__}: "
            "write the network as bz.BNN(net, prior, likelihood)"
        )
    return model.net, held


def weights(posterior: Any) -> tuple[nn.Module, dict[str, Any], dict[str, Tensor]]:
    """The net, the draws ``{name: [chain, draw, *shape]}`` of its random parameters, and the values of the others.

    Parameters that the model makes of other sites, as ``handlers.NonCentred`` does, are made.
    """
    net, held = network(posterior.model)
    _need_untied(net)
    sites = posterior.draws.sites
    fixed = {n: p.detach() for n, p in net.named_parameters() if not p.requires_grad} | held
    missing = [n for n, p in net.named_parameters() if n not in sites and n not in fixed]
    made = deterministics(posterior.model, sites, tuple(t[:1] for t in posterior.rows)) if missing else {}
    if left := [n for n in missing if n not in made]:
        raise ModelError(f"the posterior has no draws of the network's parameters {left}")
    return net, {n: sites.get(n, made.get(n)) for n, _ in net.named_parameters() if n not in fixed}, fixed


def _need_untied(net: nn.Module) -> None:
    """Raise ModelError for a parameter that two layers share: what one layer can lose the other may need."""
    slots: dict[int, list[str]] = {}
    for name, p in net.named_parameters(remove_duplicate=False):
        slots.setdefault(id(p), []).append(name)
    if shared := [names for names in slots.values() if len(names) > 1]:
        raise ModelError(
            f"the network uses a parameter twice, {shared[0]}, and compress stores each weight for one layer: give each "
            "layer its own"
        )


def moments(posterior: Any) -> Moments:
    """Mean and sd of the network's parameters over the draws of one chain, read in blocks.

    Raises ModelError for several chains of several draws: hidden units of one chain are not those of another, in another
    order, and their mean is no network.
    """
    chains, draws = posterior.draws.chains, posterior.draws.draws
    if chains > 1:
        raise ModelError(
            f"compress takes one network, and {chains} chains have their hidden units in different orders: compress one, "
            "posterior.select(chains=[0]), or each of them"
        )
    _, given, _ = weights(posterior)
    mean, sd = {}, {}
    for name, values in given.items():
        mean[name], sd[name] = _moments(lambda at, v=values: v[0, at], draws, values.shape[2:].numel())  # type: ignore[misc]
    return Moments(mean, sd, draws)


def _moments(read: Callable[[slice], Tensor], draws: int, size: int) -> tuple[Tensor, Tensor]:
    """Mean and sd over draws, in the precision of the draws, summed in float64 around the first."""
    block = max(1, NUMBERS // max(size, 1))
    first = read(slice(0, 1))[0]
    total, squares = first.double() * 0.0, first.double() * 0.0
    for at in range(0, draws, block):
        off = read(slice(at, min(draws, at + block))).double() - first.double()
        total, squares = total + off.sum(0), squares + off.square().sum(0)
    mean = total / draws
    if draws < 2:
        return first.clone(), torch.full_like(first, torch.nan)
    variance = ((squares - draws * mean.square()) / (draws - 1)).clamp(min=0.0)
    return (first.double() + mean).to(first.dtype), variance.sqrt().to(first.dtype)
