"""Another prior for each weight, chosen by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from ..types import Prior


@dataclass(frozen=True)
class PerSite:
    """The first glob pattern that fits the weight's name gives its prior: ``{"*.bias": Normal(1.), "*": Laplace()}``.

    Raises KeyError for a weight that no pattern fits.
    """

    table: Mapping[str, Prior]

    def __call__(self, name: str, shape: torch.Size) -> Any:
        for pattern, prior in self.table.items():
            if fnmatchcase(name, pattern):
                return prior(name, shape)
        raise KeyError(f"PerSite has no prior for {name!r}: its patterns are {list(self.table)}; add one, such as '*'")
