"""Scales of groups of weights: one for each input of a layer, or for each of its units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.distributions import Distribution


@dataclass(frozen=True)
class Groups:
    """A scale of a prior that is sampled once for each group of a layer's weights, at the site ``"<weight>_scale"``.

    ``prior`` is that of each group's scale, such as ``HalfCauchy(1.0)`` or ``GammaPrecision(0.05, alpha=0.5)``. The weights
    are ``[out, in, …]`` as torch keeps them; a bias ``[out]`` has a group for each unit and is one group by inputs. For
    torch's transposed convolutions, ``[in, out, …]``, the two change places.
    """

    prior: Any
    axis: ClassVar[int]

    def __post_init__(self) -> None:
        if isinstance(self.prior, type | Distribution) or not callable(self.prior):
            raise TypeError(
                f"{type(self).__name__} needs the prior of each group's scale, such as HalfCauchy(1.0); got {self.prior!r}"
            )

    def shape(self, shape: torch.Size) -> torch.Size:
        """The groups of a weight of this shape, as it broadcasts against the weight."""
        return torch.Size(n if i == self.axis else 1 for i, n in enumerate(shape))


@dataclass(frozen=True)
class PerInput(Groups):
    """One scale for each input of a layer: inputs that do not matter switch themselves off.

    Automatic relevance determination, MacKay 1994 and Neal 1996, section 4.1: with
    ``Normal(scale=PerInput(GammaPrecision(GammaPrecision(0.2, alpha=0.5), alpha=1.0)))`` the precisions of inputs have a
    common mean. Convolutions: one scale for each input channel.
    """

    axis: ClassVar[int] = 1


@dataclass(frozen=True)
class PerUnit(Groups):
    """One scale for each unit of a layer, its bias' scale being another: units that are not needed switch themselves off.

    Convolutions: one scale for each output channel. MacKay 1992.
    """

    axis: ClassVar[int] = 0
