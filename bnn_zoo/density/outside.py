"""What to say of observed values that their law cannot give."""

from __future__ import annotations

from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor

from .._torch import Independent, IntegerInterval


def kind(law: Any) -> type:
    """The class of a law, or of the law that it makes independent or masks."""
    while isinstance(law, torch.distributions.Independent | dist.MaskedDistribution):
        law = law.base_dist
    return type(law)


def outside(site: str, law: type, support: Any, values: Tensor) -> str:
    """How many of ``values`` lie outside ``support``, that of a law of class ``law``, and what may be meant."""
    while isinstance(support, Independent):  # values are counted, not rows of them
        support = support.base_constraint
    inside = support.check(values)
    return (
        f"site {site!r}: {int((~inside).sum())} of {inside.numel()} values lie outside the support of {law.__name__}, "
        f"{support}; they range from {values.min().item():g} to {values.max().item():g}"
        f"{_hint(law, support, values, inside)}"
    )


def _hint(law: type, support: Any, values: Tensor, inside: Tensor) -> str:
    if issubclass(law, dist.Poisson | dist.GammaPoisson):
        return ": counts are whole numbers, 0, 1, 2, …"
    if issubclass(law, dist.Beta):
        return ": divide percentages by 100, and move 0 and 1 inwards, (y (n - 1) + 0.5) / n of n rows"
    if not issubclass(law, dist.Categorical) or not isinstance(support, IntegerInterval) or inside.shape != values.shape:
        return ""
    found = values[~inside].unique()
    rule = "labels are 0 … classes - 1, one output of the network a class"
    if int(values.min()) == 1 and found.tolist() == [int(support.upper_bound) + 1]:
        return f": {rule}, write y - 1"
    if len(found) > 1 or issubclass(law, dist.OrderedLogistic) or type(support) is not IntegerInterval:
        return f": {rule}"
    mark = int(found)
    return f": {rule}; if {mark} marks what has no label, write Categorical(ignore={mark}), in a plain Pyro model mask it"
