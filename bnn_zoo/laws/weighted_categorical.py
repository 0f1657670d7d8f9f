"""A categorical law some of whose values count for more than others, or for nothing."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from .._torch import IntegerInterval


class LabelsOrNone(IntegerInterval):  # type: ignore[misc, valid-type]
    """Integers 0 … classes − 1, and ``ignore``, which says that there is no label."""

    def __init__(self, classes: int, ignore: int) -> None:
        super().__init__(0, classes - 1)
        self.ignore = ignore

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) | (value == self.ignore)

    def __repr__(self) -> str:
        return f"integers from 0 to {self.upper_bound}, or {self.ignore} for no label"


class WeightedCategorical(dist.Categorical):
    """``log_prob(y) = weights[y] · log softmax(logits)[y]``, 0 where y is ``ignore``. Samples are those of softmax(logits).

    ``logits [*batch, classes]``; ``weights``, a number for each class, 1 if None; ``ignore``, an integer that is no class.
    With weights other than 1 the exponentials of ``log_prob`` do not sum to one: it is a term of a log joint, not a law.
    """

    def __init__(
        self,
        logits: Tensor,
        weights: tuple[float, ...] | None = None,
        ignore: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.weights, self.ignore = weights, ignore
        super().__init__(logits=logits, validate_args=validate_args)

    @property
    def support(self) -> Any:
        classes = self._num_events
        return IntegerInterval(0, classes - 1) if self.ignore is None else LabelsOrNone(classes, self.ignore)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WeightedCategorical:
        logits = self.logits.expand(*batch_shape, self._num_events)
        return WeightedCategorical(logits, self.weights, self.ignore, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        label = value.long()
        seen = self.seen(value)
        if seen is not None:
            label = torch.where(seen, label, torch.zeros_like(label))
        log_mass = super().log_prob(label)
        if self.weights is not None:
            log_mass = log_mass * self.logits.new_tensor(self.weights)[label]
        return log_mass if seen is None else torch.where(seen, log_mass, torch.zeros_like(log_mass))

    def seen(self, value: Tensor) -> Tensor | None:
        """Where ``value`` is a label; None if it always is."""
        return None if self.ignore is None else value != self.ignore


def unweighted(law: Any) -> Any:
    """``law`` with each class counting once: the law of y whose log masses are scores."""
    if isinstance(law, WeightedCategorical):
        return WeightedCategorical(law.logits, None, law.ignore, validate_args=law._validate_args)
    if isinstance(law, torch.distributions.Independent | dist.MaskedDistribution):
        new = unweighted(law.base_dist)
        if new is law.base_dist:
            return law
        if isinstance(law, dist.MaskedDistribution):
            return new.mask(law._mask)
        return new.to_event(law.reinterpreted_batch_ndims)
    return law
