"""From any posterior to a small network with few bits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from ..bnn import BNN
from ..predict import Prediction, predict
from ..priors import Normal
from ..types import DataError, Draws, Handled, ModelError
from .chain import chain
from .draws import Moments, moments, weights
from .files import Parts, from_bytes, to_bytes
from .pruning import Rule, SignalToNoise, checked
from .quantise import Code, FixedPoint, Grid, Table, rounded
from .report import Report, score
from .surgery import architecture, cut

OCTAVE = 4
"""Steps in which the sd of a unit's weights doubles, as files have it."""


@dataclass
class Compressed:
    """A network, or several with the same connections, that ``compress`` has made or ``compression.load`` has read.

    net
        the (first) network: an ``nn.Sequential`` without masks, float32, of the layers that are left, in eval mode.
    report
        what was gained and lost; None of a network that was read from a file.
    likelihood
        of the model, for ``predict``; ``load(path, likelihood=…)`` gives it to a network from a file.
    """

    parts: Parts = field(repr=False)
    likelihood: Any = field(default=None, repr=False)
    report: Report | None = None

    @property
    def net(self) -> nn.Sequential:
        return self.nets[0]

    @property
    def nets(self) -> list[nn.Sequential]:
        """All networks; made anew at each call."""
        return [self._net(i) for i in range(len(next(iter(self.parts.indices.values()))))]

    def _net(self, member: int) -> nn.Sequential:
        made = from_layers(self.parts.net)
        with torch.no_grad():
            for name, p in made.named_parameters():
                p.copy_(self.parts.codes[name].values(self.parts.indices[name][member]))
        return made

    @cached_property
    def content(self) -> bytes:
        """What ``save`` writes."""
        return to_bytes(self.parts)

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file, whole or not at all; returns its size in bytes."""
        target, content = Path(path).expanduser(), self.content
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            beside.write_bytes(content)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return len(content)

    def draws(self, count: int = 100, seed: int = 0) -> Draws:
        """Draws of the weights of ``net`` and of the likelihood's sites: ``{site: [1, draw, *shape]}``.

        Without kept spread one for each network, whatever ``count`` says; with it ``count`` draws around them, with the sd
        of each layer's weights; weights that are zero stay.
        """
        states = [dict(net.named_parameters()) for net in self.nets]
        picked = [i % len(states) for i in range(count if self.parts.spread else len(states))]
        random = torch.Generator().manual_seed(seed)
        sites = {}
        for name in states[0]:
            values = torch.stack([states[i][name].detach() for i in picked])
            if self.parts.spread:
                sd = torch.exp2(self.parts.spread[name] / OCTAVE).reshape(-1, *[1] * (values.dim() - 2))
                noise = torch.randn(values.shape, generator=random) * sd.float()
                values = torch.where(values != 0.0, values + noise, 0.0)
            sites[name] = values[None]
        sites |= {name: value[picked][None] for name, value in self.parts.sites.items()}
        return Draws(sites, attrs={"backend": "compress", "device": "cpu"})

    def predict(self, x: Any, *, draws: int = 100, seed: int = 0) -> Prediction:
        """The predictive law of y at x, as ``Posterior.predict`` gives it: with error bars of the weights where they are
        kept, by several networks or by spreads. Raises ModelError without a likelihood."""
        if self.likelihood is None:
            raise ModelError("a network from a file has no likelihood: load(path, likelihood=bz.likelihoods.Categorical())")
        model = BNN(self.net, Normal(1.0), self.likelihood)
        x = torch.as_tensor(x)
        return predict(model, self.draws(draws, seed).sites, (x.float() if x.is_floating_point() else x,), seed)


def compress(
    posterior: Any,
    *,
    prune: Rule | None = None,
    code: Code | None = None,
    members: int = 1,
    spread: bool = False,
    test: Any = None,
) -> Compressed:
    """A small network with few bits: weights that the posterior does not know go, units that then do nothing are cut, what
    stays is rounded to a fraction of its posterior sd and coded.

    posterior
        of one chain, of any backend, whose model is a ``BNN`` of a chain of layers (``nn.Sequential``). Its moments over
        draws are what decides: two hundred draws or more. Several chains: ``posterior.select(chains=[0])``.
    prune
        which weights stay: ``compression.SignalToNoise()`` by default, ``Magnitude(0.1)``, or any function of the moments.
    code
        what values they may have: ``compression.FixedPoint()`` by default, ``Clusters()`` under a mixture prior,
        ``Levels(8)``.
    members
        1: the posterior mean is the network. k: k of its draws, evenly spaced, all with the same connections, each one
        rounded; predictions are their mixture, with error bars of the weights. ``posterior.compact(k)`` picks better ones.
    spread
        keep the sd of the weights of each layer: predictions of one network then have error bars of the weights.
    test
        ``(x, y)`` on which the report compares before with after.

    The weights are rounded before units are cut and the biases after, as constants go into them. ``save`` then writes what
    the report has measured. Raises ModelError, with what to do, for a posterior of one draw under the default rules, several
    chains, tied weights, other models and layers; DataError where no draws are as many as ``members``.
    """
    net, given, fixed = weights(posterior)
    layers = [layer for _, layer in chain(net)]
    if isinstance(members, bool) or not isinstance(members, int) or not 1 <= members <= posterior.draws.draws:
        raise DataError(f"members: of {posterior.draws.draws} draws there are 1 to so many, got {members!r}")
    found = moments(posterior)
    found = Moments({**found.mean, **fixed}, {**found.sd, **{n: torch.zeros_like(t) for n, t in fixed.items()}}, found.draws)
    masks = checked((prune or SignalToNoise())(found), found)
    codes = (code or FixedPoint())(found, masks, posterior)
    picked = torch.linspace(0, posterior.draws.draws - 1, members).round().long().tolist()
    raw = {
        n: found.mean[n][None]
        if members == 1 or n in fixed
        else torch.stack([torch.as_tensor(given[n][0, i]) for i in picked])
        for n in found.mean
    }
    raw = {n: t.cpu().float().expand(members, *t.shape[1:]) * masks[n] for n, t in raw.items()}
    small = cut(net, {n: codes[n].values(codes[n].indices(t)) if t.dim() > 2 else t for n, t in raw.items()})
    parts = _parts(net, small, codes, found, masks, spread, members)
    parts.sites = _others(posterior, picked if members > 1 else None)
    made = Compressed(parts, _bnn(posterior.model).likelihood)
    made.report = Report.of(parts, architecture(layers), score(posterior, test), score(made, test), len(made.content))
    return made


def load(path: str | os.PathLike[str], *, likelihood: Any = None) -> Compressed:
    """The network of a file that ``Compressed.save`` wrote; ``likelihood`` for ``predict``. No code is in such a file.

    Raises FileNotFoundError, and DataError for a file that is none of these, damaged or cut off.
    """
    return Compressed(from_bytes(Path(path).expanduser().read_bytes()), likelihood)


def _parts(
    net: nn.Module,
    small: list[nn.Sequential],
    codes: Mapping[str, Grid | Table],
    found: Moments,
    masks: Mapping[str, Tensor],
    spread: bool,
    members: int,
) -> Parts:
    """What the file says of the networks: the value of each parameter as an index of its code."""
    before = [(name, layer) for name, layer in chain(net) if list(layer.parameters())]
    after = [(name, layer) for name, layer in small[0].named_children() if list(layer.parameters())]
    own: dict[str, Grid | Table] = {}
    indices, spreads = {}, {}
    for (old, _), (new, layer) in zip(before, after, strict=True):
        for kind, p in layer.named_parameters():
            values = torch.stack([dict(m.named_parameters())[f"{new}.{kind}"].detach() for m in small])
            given = codes.get(f"{old}.{kind}")
            made = given if isinstance(given, Grid) or (given is not None and p.dim() > 1) else None
            name = f"{new}.{kind}"
            own[name] = made or Grid(rounded(float(values.abs().max().clamp(min=1e-30)) / 127))
            indices[name] = own[name].found(values)
            if spread:
                spreads[name] = _levels(found, masks, f"{old}.{kind}", len(p))
    return Parts(from_layers(small[0]), own, indices, spreads, {}, sum(t.numel() for t in found.mean.values()))


def _levels(found: Moments, masks: Mapping[str, Tensor], name: str, units: int) -> Tensor:
    """sd of the weights that stay, one for all units, in steps of 2^¼; of a bias that the net lacks, tiny."""
    sd = found.sd[name][masks[name]].double() if name in found.sd else torch.empty(0)
    size = sd.square().mean().sqrt().clamp(min=1e-12) if len(sd) else torch.tensor(1e-12)
    return (OCTAVE * size.log2()).round().long().expand(units)


def _others(posterior: Any, picked: list[int] | None) -> dict[str, Tensor]:
    """Draws of the likelihood's own sites, ``[member, *shape]``; None: their means."""
    model = _bnn(posterior.model)
    first = posterior.rows[0][:1].cpu()
    with poutine.block(), torch.no_grad():
        trace = poutine.trace(model.likelihood).get_trace(model.net.cpu()(first.float()))
    own = [n for n, msg in trace.nodes.items() if msg["type"] == "sample" and n in posterior.draws.sites]
    sites = {n: torch.as_tensor(posterior.draws.sites[n][0]).float() for n in own}
    return {n: v.mean(0, keepdim=True) if picked is None else v[picked] for n, v in sites.items()}


def _bnn(model: Any) -> BNN:
    while isinstance(model, Handled):
        model = model.model
    assert isinstance(model, BNN)
    return model


def from_layers(net: nn.Sequential) -> nn.Sequential:
    """A copy, layer by layer, as a file has it."""
    from copy import deepcopy

    return deepcopy(net).float().eval()
