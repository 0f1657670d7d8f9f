"""One row of the catalogue, and the kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from ._card import Card

KINDS = {
    "published": ("zoo", "Published models: ready to fit, with the paper's network, prior, likelihood."),
    "net": ("nets", "Networks: plain torch modules, pure functions of (weights, x)."),
    "transform": ("nets", "Networks from networks."),
    "prior": ("priors", "Priors over weights: (name, shape) -> Distribution."),
    "scale": ("priors", "Scales of priors: rules of a weight's shape, and groups with scales of their own."),
    "likelihood": ("likelihoods", "Likelihoods: the law of a row of y given the network's output."),
    "backend": ("backends", "Backends: settings of one way to infer, with run(model, data) -> Draws."),
    "spread": ("backends", "Around a backend: over which processes it runs."),
    "mass matrix": ("backends", "Mass matrices of NUTS, HMC and AdjustedMCLMC."),
    "handler": ("handlers", "Handlers of variational training: noise of each row's own."),
    "effect": ("handlers", "Effects on models: a model from a model, sites chosen by patterns of names."),
    "guide": ("guides", "Variational families."),
    "start": ("density", "Where chains start."),
}
"""Kind of member: the package it is exported from, and a line."""


@dataclass(frozen=True)
class Entry:
    """One member.

    name
        as it is exported; ``module`` is its file in the package of its kind, or in another package ("kernels.mass").
    line
        what it is, in one line.
    year, reference
        when and where it was published; None and "" for what has no source.
    tiny
        a small one as code, with the package as ``bz``: the example in the documentation, and what tests make.
    facts
        of its kind. Backends: ``exact``, "yes" for draws from the posterior up to Monte Carlo error, else how they are off;
        ``rows``, "all" or "minibatches"; ``family``; ``compare``, their settings in ``bnn-zoo compare`` as code of the
        numbers chains, draws and rows. Networks: ``x``, the shape of a row that the tiny one takes, and ``below``,
        where x holds integers below this. Likelihoods: ``outputs``, how many the network gives for the tiny one, and
        ``y``, the shape of a row of y. Published models: ``architecture``, number of ``weights``, ``prior``,
        ``likelihood``, ``data``, ``temperature``; ``x``, the shape of a row of the tiny one, and ``rows``, 20 rows of it
        as code.
    """

    name: str
    kind: str
    module: str
    line: str
    year: int | None = None
    reference: str = ""
    tiny: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    @property
    def package(self) -> str:
        return KINDS[self.kind][0]

    @property
    def source(self) -> str:
        """Who and when; empty for what has no source."""
        return f"{self.reference} {self.year}" if self.year else ""

    @property
    def qualified(self) -> str:
        """Its name as users write it: backends and mass matrices stand at the top."""
        return f"bz.{self.name}" if self.package == "backends" else f"bz.{self.package}.{self.name}"

    @property
    def constructor(self) -> Any:
        """The class or function itself."""
        return getattr(import_module(f"bnn_zoo.{self.package}"), self.name)

    @property
    def card(self) -> Card:
        """Of a published model: its record, which stands beside it."""
        card: Card = import_module(f"bnn_zoo.{self.package}.{self.module}").CARDS[self.name]
        return card

    def make(self, code: str | None = None, **names: Any) -> Any:
        """The tiny one, or what other ``code`` of this table gives, such as that of ``facts``, with these names."""
        return eval(code or self.tiny, {"bz": import_module("bnn_zoo"), **names})
