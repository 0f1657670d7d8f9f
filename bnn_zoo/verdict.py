"""After ``fit``: did the chains agree, and did anything go wrong? One warning says all of it, with the remedy, or nothing.

What is looked at, on a bounded sample of rows and draws so that it costs a small share of the run:

- what the model computes (the mean of each observed site) and the log likelihood at some rows, with rows beyond the data
  where the model takes new inputs: chains in different modes may agree at the data and nowhere else;
- the log joint;
- sites. The hidden units of a network can be swapped without changing it, so of networks only single numbers are looked
  at, such as a noise or a scale; of any other model all sites.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

from ._scope import seeded
from .bnn import BNN, rows_alone
from .diagnostics import ess_bulk
from .diagnostics.agreement import GOOD, Worst, worst_rhat
from .posterior import Posterior
from .predict import moments, replay
from .run.stored import in_blocks, selected
from .types import Draws

ROWS, FEW_ROWS, OUTPUTS, SCALARS = 50, 10, 100, 200
"""Rows of the data, and as many beyond them, at most and at least; numbers kept of what is computed there; of the sites."""
DRAWS, SITE_DRAWS = 200, 1000
"""Most draws of a chain of what is computed, and of sites."""
SHARE, GRADIENT = 0.02, 3
"""What this may take, as a share of the run, in passes of rows through the model; a gradient takes about so many."""
RHAT = 400
"""Gradients, of a network so small that passes take no time, in which R-hat of a row is nothing."""
LOOSE = 1.1
"""R-hat of sites, log joint and log likelihood that is let pass: they mix more slowly than what the model computes."""


@dataclass
class Verdict:
    """``f``: the worst R-hat of what the model computes; ``sites``: those that disagree, by name; ``said``: the rest."""

    f: Worst | None = None
    f_ess: float = 0.0
    draws: int = 0
    sites: dict[str, Worst] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def f_disagrees(self) -> bool:
        return self.f is not None and self.f.disagree


def judged(posterior: Posterior) -> Posterior:
    """The posterior, with what was found in its ``draws.attrs`` and, where that is no good news, one warning."""
    verdict = judge(posterior)
    attrs = posterior.draws.attrs
    if verdict.f is not None:
        attrs["max_rhat_f"] = verdict.f.rhat
    text = describe(verdict, posterior)
    attrs["doubts"] = text or None
    if text:
        warnings.warn(f"{attrs.get('backend', 'the backend')}: {text}", stacklevel=3)
    return posterior


def judge(posterior: Posterior) -> Verdict:
    draws = posterior.draws
    verdict = Verdict(draws=draws.chains * draws.draws)
    if draws.attrs.get("doubts"):
        verdict.said.append(draws.attrs["doubts"])
    finite = {name: _finite(value) for name, value in draws.sites.items()}
    good = torch.stack(list(finite.values())).all(0)
    if not bool(good.all()):
        names = [name for name, each in finite.items() if not bool(each.all())]
        verdict.said.append(f"{int((~good).sum())} of {good.numel()} draws are not finite, at sites {names[:5]}")
        return verdict
    if draws.draws >= 4 and draws.attrs.get("inference_method") != "SVI":  # a q may be a point
        ends = [{n: v[c, :: max(1, draws.draws - 1)] for n, v in draws.sites.items()} for c in range(draws.chains)]
        still = [all(bool((v == v[:1]).all()) for v in end.values()) for end in ends]
        still = [s and all(_stays(v, c) for v in draws.sites.values()) for c, s in enumerate(still)]
        if any(still):
            verdict.said.append(f"{sum(still)} of {draws.chains} chains never moved: start elsewhere, or warm up longer")
    if draws.chains < 2 or draws.draws < 4:
        return verdict
    computed = _computed(posterior)
    if computed and (f := torch.cat([v for k, v in computed.items() if k != LIKELIHOOD], -1)).numel():
        verdict.f = worst_rhat(f)
        if verdict.f is not None:
            verdict.f_ess = float(ess_bulk(f[..., verdict.f.at]))
    others: dict[str, Tensor | None] = {"log likelihood": computed.get(LIKELIHOOD), "log joint": draws.stats.get("lp")}
    others |= _sites(posterior)
    for name, value in others.items():
        if value is not None and (worst := worst_rhat(_thin(value, SITE_DRAWS), LOOSE)) and worst.disagree:
            verdict.sites[name] = worst
    return verdict


def describe(verdict: Verdict, posterior: Posterior) -> str:
    """The warning's text; empty where there is nothing to say."""
    parts = []
    if verdict.f_disagrees or verdict.sites:
        found = [f"R-hat of f {verdict.f.rhat:.3g} at worst"] if verdict.f is not None else []
        if verdict.f_disagrees:
            found[0] += f" ({verdict.f_ess:.0f} effective of {verdict.draws} draws)"
        worst = sorted(verdict.sites.items(), key=lambda item: -item[1].rhat)[:3]
        found += [f"of {name} {w.rhat:.3g}" for name, w in worst]
        parts.append(f"the chains disagree: {', '.join(found)}; below {GOOD} is well. {_remedy(verdict, posterior)}")
    return ". ".join([*parts, *verdict.said])


def _remedy(verdict: Verdict, posterior: Posterior) -> str:
    if posterior.draws.attrs.get("inference_method") == "SVI":
        advice = "Restarts ended in different optima: make more steps, or take the restart of the largest ELBO"
    else:
        advice = "Make warm-up and draws longer, or start elsewhere (init); where they stay apart the posterior has modes "
        advice += "that this sampler does not join, and their weights are not to be trusted"
    if not verdict.f_disagrees and verdict.f is not None:
        advice += (
            ". What the model computes does agree: if the sites can change places or sign without changing it, predictions "
            "may be used, means of these sites may not"
        )
    return advice


LIKELIHOOD = "log likelihood"


def _computed(posterior: Posterior) -> dict[str, Tensor]:
    """``{what: [chain, draw, scalars]}`` of f at some rows, f beyond them, and the log likelihood; {} where it can't be."""
    draws, by_rows = posterior.draws, takes_rows(posterior.model)
    try:
        rows = _some_rows(posterior) if by_rows or isinstance(posterior.data, Dataset) else tuple(posterior.data)
    except (TypeError, LookupError):  # items of a data set that are no tuples of tensors
        return {}
    if rows is None:
        return {}
    dtype = next(iter(draws.sites.values())).dtype
    rows = tuple(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in rows)
    passes = SHARE * draws.attrs.get("gradients", DRAWS * draws.chains / SHARE) / draws.chains
    keep = DRAWS if by_rows else int(min(max(passes, 20), DRAWS))
    sites = {name: _thin(value, keep) for name, value in draws.sites.items()}

    def read(law: Any, y: Any) -> dict[str, Tensor]:
        f = moments(law)[0]
        found = {"f": _some(f.reshape(len(f), -1), OUTPUTS)}
        if y is not None:
            log_prob = law.log_prob(y)
            found[LIKELIHOOD] = _some(log_prob.reshape(len(f), -1), OUTPUTS)
        return found

    try:
        found = replay(posterior.model, sites, rows, read)
        out = {f"f of {name}": each["f"] for name, each in found.items()}
        out[LIKELIHOOD] = torch.cat([each[LIKELIHOOD] for each in found.values()], -1)
        if by_rows and (beyond := _beyond(rows[0])) is not None:
            found = replay(posterior.model, sites, (beyond,), lambda law, _: read(law, None), which="open")
            out |= {f"f of {name} beyond the data": each["f"] for name, each in found.items()}
    except (NotImplementedError, RuntimeError, ValueError, TypeError, LookupError):
        # a law without a mean, a model that needs all its arguments or rows: the draws are worth more than this look at them
        return {}
    return out


def takes_rows(model: Any) -> bool:
    """Whether a model can be run on any rows, and on new inputs alone: ``model(x, y=None, *, size=None)``."""
    if rows_alone(model):
        return True
    parameters = list(inspect.signature(model).parameters.values())
    return any(p.name == "size" for p in parameters) and all(p.default is not p.empty for p in parameters[1:])


def _some_rows(posterior: Posterior) -> tuple[Any, ...] | None:
    """Rows of the data, evenly spaced; None where they can't be had one by one."""
    data = posterior.data
    if isinstance(data, IterableDataset):
        return None
    if isinstance(data, Dataset):
        size: int = len(data)  # type: ignore[arg-type]
        with seeded(0, torch.device("cpu")):
            items = [tuple(data[i]) for i in _spaced(size, FEW_ROWS)]
        return tuple(default_collate(items))
    size = len(data[0])
    pick = _spaced(size, _affordable(posterior.draws, size))
    return tuple(t[pick] if isinstance(t, Tensor) and t.dim() and len(t) == size else t for t in data)


def _affordable(draws: Draws, size: int) -> int:
    """How many rows of the data, and as many beyond them, may be looked at."""
    batch = draws.attrs.get("batch_size")
    gradients = draws.attrs.get("gradients", 0)
    passes = GRADIENT * gradients * (batch if isinstance(batch, int) else size)
    looks = 2 * draws.chains * min(draws.draws, DRAWS)
    return int(min(max(min(SHARE * passes / looks, gradients / RHAT), FEW_ROWS), ROWS))


def _spaced(size: int, count: int) -> list[int]:
    return sorted({round(i) for i in torch.linspace(0, size - 1, min(size, count)).tolist()})


def _beyond(x: Any) -> Tensor | None:
    """Inputs half as far again from their centre as these rows ``[n, features]``."""
    if not isinstance(x, Tensor) or x.dim() != 2 or not x.is_floating_point():
        return None
    return x.mean(0) + 1.5 * (x - x.mean(0))


def _sites(posterior: Posterior) -> dict[str, Tensor]:
    """The sites whose chains should agree, each with a bounded number of scalars."""
    sites = posterior.draws.sites
    if is_network(posterior):
        own = _weights(posterior)
        return {n: value[:] for n, value in sites.items() if value.shape[2:].numel() == 1 and n not in own}
    room = max(1, SCALARS // len(sites))
    return {n: torch.cat([_some(_flat(b), room) for b in in_blocks(value)], 1) for n, value in sites.items()}


def is_network(posterior: Posterior) -> bool:
    """A BNN, a module with weight matrices, or any model with two or more: what lies between two can be permuted."""
    matrices = [name for name, value in posterior.draws.sites.items() if value.dim() >= 4]
    return (
        isinstance(posterior.model, BNN) or (isinstance(posterior.model, nn.Module) and bool(matrices)) or len(matrices) > 1
    )


def _weights(posterior: Posterior) -> set[str]:
    net = posterior.model.net if isinstance(posterior.model, BNN) else posterior.model
    return {name for name, _ in net.named_parameters()} if isinstance(net, nn.Module) else set()


def _thin(value: Any, most: int) -> Any:
    """At most so many draws of ``[chain, draw, …]``, evenly spaced; those on disk stay there."""
    return selected(value, None, _spaced(value.shape[1], most))


def _some(value: Tensor, most: int) -> Tensor:
    """At most so many of the scalars ``[…, scalars]``, evenly spaced."""
    return value[..., _spaced(value.shape[-1], most)]


def _finite(value: Any) -> Tensor:
    """``[chain, draw]``: whether all scalars of ``value [chain, draw, …]`` are finite; a few draws at a time, since torch's
    test takes the room of what it tests."""
    found = torch.empty(value.shape[:2], dtype=torch.bool)  # made first: small pieces between large ones keep memory in use
    at = 0
    for block in in_blocks(value):
        for some in _flat(block).split(16, 1):
            torch.all(torch.isfinite(some), -1, out=found[:, at : at + some.shape[1]])
            at += some.shape[1]
    return found


def _stays(value: Any, chain: int) -> bool:
    """Whether all draws of a chain are its first."""
    return all(bool((block[0] == value[chain, 0]).all()) for block in in_blocks(selected(value, chain)))


def _flat(value: Tensor) -> Tensor:
    """A site's draws as ``[chain, draw, scalars]``."""
    return value.reshape(*value.shape[:2], -1)
