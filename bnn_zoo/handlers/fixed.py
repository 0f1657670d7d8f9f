"""Networks of which some weights are not random: last layers, and other parts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from pyro import distributions as dist
from pyro.distributions.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from .._names import fits, need_matches, need_patterns
from ..types import Handled, Model, ModelError


class Fixed(Handled):
    """``model`` whose sites that fit one of ``patterns`` are held at ``values``: what is left is sampled given them.

    ``Fixed(model, "0.*", "2.*", values=trained)`` is a Bayesian last layer on a trained network (Kristiadi, Hein & Hennig
    2020), any other patterns a partially stochastic network (Sharma, Farquhar, Nalisnick & Rainforth 2023). For every
    backend, and in predictions and exports, where held sites are left out: they are no draws. Their log density stays in the
    log joint: hyperparameters of a held weight, such as ``"0.weight_scale"``, are inferred from it, also where a pattern
    fits them, unless ``values`` has their values too.

    values
        a network with these parameters, such as a trained one (``model.net`` itself), or a mapping from names to values:
        ``{n: v[0, 0] for n, v in bz.fit(model, data, bz.MAP()).draws.sites.items()}``. As they are now: they are copied.

    For ``MeanField`` weights may be points that are optimised with the rest: ``guides.MeanFieldNormal(points=…)``. Raises
    ModelError when run for a pattern that no latent site fits, with the nearest names; a site without a value, or with one
    of another shape or outside its support; and where nothing random is left.
    """

    def __init__(self, model: Model, *patterns: str, values: nn.Module | Mapping[str, Any]) -> None:
        super().__init__(model)
        need_patterns("Fixed", patterns)
        given = dict(values.named_parameters()) if isinstance(values, nn.Module) else values
        if not isinstance(given, Mapping):
            raise TypeError(f"Fixed: values are a network or a mapping from names to tensors, got {type(values).__name__}")
        self.patterns = patterns
        self.values = {name: torch.as_tensor(v).detach().clone() for name, v in given.items() if fits(name, patterns)}
        for name, value in self.values.items():
            if not bool(torch.isfinite(value).all()):
                raise ModelError(f"Fixed: the value of {name!r} has NaN or infinite numbers")

    def effect(self) -> AbstractContextManager[Any]:
        return _Fixing(self.patterns, self.values)

    def __repr__(self) -> str:
        return f"Fixed({self.model!r}, {', '.join(map(repr, self.patterns))})"


class _Fixing(Messenger):
    def __init__(self, patterns: tuple[str, ...], values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.patterns, self.values = patterns, values
        self.seen: list[str] = []
        self.random = 0

    def __exit__(self, *error: Any) -> Any:
        if error[0] is None:
            need_matches("Fixed", self.patterns, self.seen)
            if not self.random:
                raise ModelError(f"Fixed: patterns {list(self.patterns)} fit all of {self.seen}: nothing is left to sample")
        return super().__exit__(*error)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        name, law = msg["name"], msg["fn"]
        self.seen.append(name)
        of_held_weight = any(name.startswith(f"{held}_") for held in self.values)
        if not fits(name, self.patterns) or (name not in self.values and of_held_weight):
            self.random += 1
            return
        if name not in self.values:
            raise ModelError(f"Fixed: there is no value for site {name!r} in values, which has {list(self.values)}")
        value = self.values[name]
        if value.shape != law.shape():
            raise ModelError(
                f"Fixed: site {name!r} has shape {tuple(law.shape())}, its value in values {tuple(value.shape)}"
            )
        device, dtype = torch.get_default_device(), torch.get_default_dtype()
        value = value.to(device, dtype if value.is_floating_point() else value.dtype)
        if is_validation_enabled() and not bool(law.support.check(value).all()):
            raise ModelError(f"Fixed: the value of {name!r} lies outside the support of {type(law).__name__}, {law.support}")
        msg["fn"] = dist.Delta(value, log_density=law.log_prob(value), event_dim=law.event_dim)
        msg["value"], msg["is_observed"] = value, True
        msg["infer"] = {**msg["infer"], "constant": True}  # in an export it would be repeated for each draw
