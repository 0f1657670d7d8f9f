"""Several classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from ..laws import WeightedCategorical
from ..types import ModelError
from ._output import need


@dataclass(frozen=True, repr=False)
class Categorical:
    """``y ~ softmax(f)``: y is ``[n]`` of integers 0 … classes − 1, the network gives ``[n, classes]`` logits.

    A class for each pixel, or each place in a sequence: logits ``[n, classes, *places]`` and y ``[n, *places]``, the classes
    second as in ``torch.nn.CrossEntropyLoss``. A row is a whole image then: its log likelihood is the sum over its places,
    which are independent given f, and minibatches, leave-one-out and prediction take rows.

    classes
        how many there are, where the network's width shall be checked against it; None takes the width as it is.
    ignore
        a label such as 255 or −1 that is none of the classes: where y holds it, there is no label, and the log likelihood is
        0 there. A row (an image) without any label is left out of pointwise log likelihoods and the groups of y, as masked
        rows are. Predictions are of the classes alone.
    class_weights
        ``[classes]`` numbers > 0, a tensor or a list: the log joint holds ``class_weights[y] · log softmax(f)[y]``, the sum
        that torch's cross entropy with ``weight=`` and ``reduction="sum"`` takes (its mean divides by the weights, this does
        not). ``exp`` of it does not sum to one over y, so the posterior is one of a likelihood tempered by class, with as
        many observations of a class as its weights add up to. Pointwise log likelihoods and predictions are those of
        softmax(f), unweighted.

    Raises ValueError and TypeError for other settings, ModelError where they do not fit the network's output.
    """

    classes: int | None = None
    ignore: int | None = field(default=None, kw_only=True)
    class_weights: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.classes is not None and (isinstance(self.classes, bool) or not isinstance(self.classes, int)):
            raise TypeError(f"Categorical: classes must be a whole number or None, got {self.classes!r}")
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"Categorical: classes must be at least 2, got {self.classes}")
        if self.ignore is not None and (isinstance(self.ignore, bool) or not isinstance(self.ignore, int)):
            raise TypeError(f"Categorical: ignore must be a whole number such as 255 or -1, or None, got {self.ignore!r}")
        if self.class_weights is not None:
            object.__setattr__(self, "class_weights", _weights(self.class_weights, self.classes))
            object.__setattr__(self, "classes", len(self.class_weights))

    def __repr__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        return f"Categorical({', '.join(f'{name}={value}' for name, value in given.items())})"

    def out_features(self, columns: int = 1) -> int | None:
        """The number of classes where ``classes`` or ``class_weights`` tells, else None."""
        return self.classes

    def __call__(self, f: Tensor) -> Any:
        places = f.dim() - 2
        expected = "one output a class, at least two (for one output use Bernoulli)"
        need("Categorical", f, places >= 0 and f.shape[1] >= 2, expected + (", as [rows, classes, …places]" * (places > 0)))
        logits = f.movedim(1, -1)
        self._check_classes(f.shape[1])
        plain = self.ignore is None and self.class_weights is None
        law = dist.Categorical(logits=logits) if plain else WeightedCategorical(logits, self.class_weights, self.ignore)
        return law.to_event(places) if places else law

    def _check_classes(self, classes: int) -> None:
        if self.ignore is not None and 0 <= self.ignore < classes:
            raise ModelError(
                f"Categorical: ignore={self.ignore} is one of the {classes} classes of the network, 0 … {classes - 1}: "
                "mark what has no label by another number, y[…] = 255 with ignore=255, and number the classes from 0"
            )
        if self.classes not in (None, classes):
            raise ModelError(f"Categorical: expected an output for each of {self.classes} classes, got {classes}")


def _weights(given: Any, classes: int | None) -> tuple[float, ...]:
    """The weights as numbers: what can be compared and printed, and follows f to its device."""
    if isinstance(given, str) or not isinstance(given, Tensor | Sequence):
        raise TypeError(
            f"Categorical: class_weights must be a tensor or a list of numbers, one for each class, got {given!r}"
        )
    values = given.tolist() if isinstance(given, Tensor) else list(given)
    numbers = isinstance(values, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers or not all(v > 0 and math.isfinite(v) for v in values):
        raise ValueError(
            f"Categorical: class_weights must be finite numbers > 0, one for each class, got {given}; "
            "labels that shall not count are marked by a number that is no class, ignore=255"
        )
    if classes not in (None, len(values)):
        raise ValueError(
            f"Categorical: class_weights must be one number for each of the {classes} classes, got {len(values)}"
        )
    return tuple(map(float, values))
