"""Another prior for each weight, chosen by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.distributions import Distribution

from ..types import CommonPrior, Prior


@dataclass(frozen=True)
class PerSite:
    """The first glob pattern that fits the weight's name gives its prior: ``{"*.bias": Normal(1.), "*": Laplace()}``.

    Raises KeyError for a weight that no pattern fits.
    """

    table: Mapping[str, Prior]

    def __post_init__(self) -> None:
        if not isinstance(self.table, Mapping):
            raise TypeError(
                f"PerSite needs a mapping from patterns to priors, such as {{'*': Normal(1.0)}}; got {self.table!r}"
            )
        for pattern, prior in self.table.items():
            if not isinstance(pattern, str):
                raise TypeError(f"PerSite: patterns are texts such as '*.bias', got {pattern!r}")
            if isinstance(prior, type | Distribution) or not callable(prior):
                raise TypeError(f"PerSite: {pattern!r} needs a prior such as Normal(1.0), got {prior!r}")

    def begin(self) -> PerSite:
        """As ``CommonPrior`` says. One and the same ``Shared`` under two patterns is begun once."""
        begun = {id(p): p.begin() for p in self.table.values() if isinstance(p, CommonPrior)}
        return PerSite({pattern: begun.get(id(p), p) for pattern, p in self.table.items()}) if begun else self

    def __call__(self, name: str, shape: torch.Size) -> Any:
        for pattern, prior in self.table.items():
            if fnmatchcase(name, pattern):
                return prior(name, shape)
        raise KeyError(f"PerSite has no prior for {name!r}: its patterns are {list(self.table)}; add one, such as '*'")
