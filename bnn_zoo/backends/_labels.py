"""Observed values of minibatch fits: all rows are looked at before the first step, where all rows can be.

A log joint is built on one batch, which says nothing of the labels of the others: a label outside the support of its law
gives a finite log density that is wrong (Bernoulli), or a raw error in the middle of a run (Categorical).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from .._interrupt import safe_point
from .._scope import seeded
from .._torch import Independent
from ..data import Minibatches
from ..density import LogJoint, is_data
from ..density.outside import kind, outside
from ..density.sites import Fill, draw_or_support
from ..types import DataError

CHUNK = 4_096
"""Rows in one run of a model whose support has to be asked for row by row."""


def need_observed(log_joint: LogJoint) -> None:
    """Raise DataError where a model that is given tensors observes none: y, left out or None, is drawn from the prior."""
    if log_joint.rows or not any(isinstance(a, Tensor) for a in log_joint.args):
        return
    sites = _trace(log_joint, log_joint.args).nodes.values()
    if not any(msg["type"] == "sample" and msg["is_observed"] for msg in sites):
        raise DataError(
            "with these data the model observes nothing, so every site would be drawn from its prior: is y missing, or None?"
            " Pass all of the model's data, such as (x, y); for draws from the prior use pyro.infer.Predictive"
        )


@dataclass(frozen=True)
class Observed:
    """An observed site whose values are the model's argument ``index``, and the same support for all rows."""

    site: str
    index: int
    law: type
    support: Any
    dtype: torch.dtype

    def check(self, column: Tensor) -> None:
        """Raise DataError where values of rows ``[…, row, …]`` lie outside the support."""
        values = column.to(self.dtype)
        if not bool(self.support.check(values).all()):
            raise DataError(outside(self.site, self.law, self.support, values))


def observed_arguments(log_joint: LogJoint, args: tuple[Tensor, ...]) -> list[Observed] | None:
    """The observed sites of a model and which of its arguments ``args`` (a batch) they are.

    None where some site's values are no argument, or its support differs from row to row: then only a run of the model on
    the rows in question tells.
    """
    found = []
    for name, msg in _trace(log_joint, args).nodes.items():
        if not is_data(msg):
            continue
        value, support = msg["value"], msg["fn"].support
        same = [i for i, a in enumerate(args) if a.shape == value.shape and torch.equal(a.to(value.dtype), value)]
        if not same or _varies(support):
            return None
        found.append(Observed(name, same[-1], kind(msg["fn"]), support, value.dtype))
    return found


def _varies(support: Any) -> bool:
    """Whether its bounds are tensors of several numbers, such as the totals of binomial counts."""
    while isinstance(support, Independent):
        support = support.base_constraint
    return any(isinstance(bound, Tensor) and bound.numel() > 1 for bound in vars(support).values())


def _trace(log_joint: LogJoint, args: tuple[Any, ...]) -> Any:
    """A run of the model on these rows, its latent sites drawn."""
    with log_joint._scope(), seeded(0, log_joint.device), torch.no_grad(), Fill(draw_or_support):
        return poutine.trace(log_joint.model).get_trace(*args, **log_joint.kwargs)


def check_rows(log_joint: LogJoint, rows: tuple[Tensor, ...]) -> list[Observed]:
    """Raise DataError where any of all rows ``[N, …]`` lies outside its law's support. Returns what to ask of a batch."""
    observed = observed_arguments(log_joint, log_joint.args)
    if observed is None:
        for start in range(0, len(rows[0]), CHUNK):
            safe_point()
            chunk = tuple(t[start : start + CHUNK].to(log_joint.device) for t in rows)
            for name, msg in _trace(log_joint, chunk).nodes.items():
                if is_data(msg):
                    Observed(name, 0, kind(msg["fn"]), msg["fn"].support, msg["value"].dtype).check(msg["value"])
        return []
    for each in observed:
        each.check(rows[each.index])
    return observed


def check_columns(log_joint: LogJoint, columns: tuple[Tensor | None, ...]) -> list[Observed]:
    """As ``check_rows`` for what a Dataset shows of its columns: those that are None are looked at batch by batch."""
    observed = observed_arguments(log_joint, log_joint.args) or []
    for each in observed:
        column = columns[each.index] if each.index < len(columns) else None
        if column is not None:
            each.check(column)
    return [each for each in observed if each.support is not constraints.real]


@dataclass
class Watched:
    """Minibatches whose observed values are looked at as they come."""

    batches: Minibatches
    observed: list[Observed]

    @property
    def size(self) -> int:
        return self.batches.size

    @property
    def batch_size(self) -> int:
        return self.batches.batch_size

    def rows(self, step: int) -> tuple[Tensor, ...]:
        rows = self.batches.rows(step)
        for each in self.observed:
            each.check(rows[each.index])
        return rows
