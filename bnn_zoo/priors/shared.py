"""Hyperparameters that several weights have in common."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from pyro.distributions.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from torch.distributions import Distribution

from ..types import ModelError, Prior


@dataclass(frozen=True)
class Shared:
    """``prior`` with its hyperparameters sampled once for all weights that it is given, at ``"<name>_…"``.

    ``Shared(Normal(HalfCauchy(1.0)), "net")`` has one scale for the whole network, at the site ``"net_scale"``;
    ``Shared(GaussianMixture(16), "net")`` one mixture (soft weight sharing). For some of the weights use it in ``PerSite``:
    ``{"*.bias": Normal(1.0), "*": Shared(…, "weights")}``.

    name
        what the common sites are called; no parameter of the network and no other ``Shared`` may have it.
    sites
        patterns of the sites to share, without the weight's name, as of ``fnmatch``:
        ``Shared(Horseshoe(), "net", sites=("global_scale",))`` has one τ, and the λ of each weight.

    In a model of one's own: ``prior = shared.begin()`` at its start, then ``prior(name, shape)`` for each weight, as ``BNN``
    does. Raises ModelError where what is shared has another shape or law at another weight, as ``HalfCauchy(fan_in)`` has.
    """

    prior: Prior
    name: str
    sites: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if isinstance(self.prior, type | Distribution) or not callable(self.prior):
            raise TypeError(f"Shared needs a prior such as Normal(HalfCauchy(1.0)), got {self.prior!r}")
        if not isinstance(self.name, str) or not self.name or "." in self.name or "/" in self.name:
            raise ValueError(f"Shared: name is that of the common sites, such as 'net', without dots; got {self.name!r}")
        if isinstance(self.sites, str) or not self.sites:
            raise TypeError(f"Shared: sites are patterns such as ('global_scale',), got {self.sites!r}")

    def begin(self) -> Prior:
        """The prior of one run of the model: it remembers what was sampled."""
        return _Run(self)

    def __call__(self, name: str, shape: torch.Size) -> Any:
        return self.begin()(name, shape)


class _Run:
    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.made: dict[str, tuple[Any, Any, str]] = {}  # common site: its law, its value, the weight that came first

    def __call__(self, name: str, shape: torch.Size) -> Any:
        with _Once(self.shared, name, self.made):
            return self.shared.prior(name, shape)


class _Once(Messenger):
    """Calls the sites of a weight's hyperparameters by their common name, and gives those that were sampled their values."""

    def __init__(self, shared: Shared, weight: str, made: dict[str, tuple[Any, Any, str]]) -> None:
        super().__init__()
        self.shared, self.weight, self.made = shared, weight, made
        self.laws: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        own, lead = msg["name"], f"{self.weight}_"
        if not own.startswith(lead) or not any(fnmatchcase(own.removeprefix(lead), p) for p in self.shared.sites):
            return
        name = f"{self.shared.name}_{own.removeprefix(lead)}"
        if name not in self.made:
            msg["name"], self.laws[name] = name, msg["fn"]
            return
        law, value, first = self.made[name]
        if law.shape() != msg["fn"].shape() or not _same(law, msg["fn"], value):
            raise ModelError(
                f"Shared: {name!r} has another law at {self.weight!r} than at {first!r}, so they cannot share it: leave out "
                "rules of a weight's shape such as fan_in, name what to share in sites=, or share among weights of one shape"
            )
        msg["value"], msg["done"], msg["stop"] = value, True, True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.laws:
            self.made[msg["name"]] = (self.laws[msg["name"]], msg["value"], self.weight)


def _same(law: Any, other: Any, value: Any) -> bool:
    """Whether two laws give a value the same density. Not asked while a model is traced: its first runs have asked."""
    if not is_validation_enabled():
        return True
    return type(law) is type(other) and torch.allclose(law.log_prob(value), other.log_prob(value), rtol=1e-4, equal_nan=True)
